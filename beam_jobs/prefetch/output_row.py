"""What a line of a batch job's output holds: an image to store, or why there is none. Pure.

A row is `{"status", "processed_time", "request", "response"}`. An empty `status` means success, and
`response` is then what a call would have answered; else `status` says what went wrong:
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/capabilities/batch-prediction-from-cloud-storage

Nothing that is told of a row quotes its prompt, its answer, or the words of an error.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import google_crc32c
from google.rpc import code_pb2

from beam_jobs.models.answer_json import decode_around_pictures
from beam_jobs.models.base import CallError, Image
from beam_jobs.models.bill import FREE, Bill, is_version_of
from beam_jobs.models.gemini import image_in
from beam_jobs.models.refusals import error_in
from beam_jobs.outcomes import Reason
from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.request_row import contents_hash, label_of


class RowEnd(StrEnum):
    """What became of a row; the names that the report counts them under."""

    STORED = "stored"  # its image is in the store, by this run
    ALREADY_THERE = "already_there"  # another image was in the store before; that one is kept
    DOUBLED = "doubled"  # another row for the same image came first
    FAILED = "failed"  # its status says so
    REFUSED = "refused"  # for its content
    NO_IMAGE = "no_image"  # the answer has none, or what it has is none
    OTHER_MODEL = "other_model"  # another model answered than the one that was asked
    REFERENCE_CHANGED = "reference_changed"  # a picture that the model was shown is another now
    NOT_STORED = "not_stored"  # storage never accepts this image
    UNLABELLED = "unlabelled"  # its echo does not say which image it is for
    UNKNOWN = "unknown"  # it is for none of the part's images: another job's
    ECHO_CHANGED = "echo_changed"  # its echo asks for something else than was asked
    CUT_OFF = "cut_off"  # the file ends within it
    TOO_LONG = "too_long"
    UNREADABLE = "unreadable"  # not JSON, or no row


_HTTP_STATUS = re.compile(r"\b[45][0-9]{2}\b")
_CODES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}
_CODE_NAMES = frozenset(_CODES.values()) - {"OK"}
WITHOUT_CODE = "without a code"

FindRow = Callable[[str], ManifestRow | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Usable:
    """A row whose image can be stored.

    Attributes:
        row: what is known of the request.
        image: its picture.
        bill: what it cost.
    """

    row: ManifestRow
    image: Image
    bill: Bill

    @property
    def told_by(self) -> int:
        """What tells the image from others: equal for a row that was written twice."""
        return int(google_crc32c.value(self.image.data))


@dataclasses.dataclass(frozen=True, slots=True)
class Unusable:
    """A row without an image to store.

    Attributes:
        end: what became of it.
        detail: the same in words, for people.
        row: what is known of the request; None where its image is not known.
        bill: what it cost.
        code: of a row that failed: the name of its code, or `WITHOUT_CODE`.
        told_by: what tells the row from others.
    """

    end: RowEnd
    detail: str
    row: ManifestRow | None = None
    bill: Bill = FREE
    code: str = ""
    told_by: int = 0


def check_line(line: bytes | bytearray, find: FindRow, *, is_ended: bool) -> Usable | Unusable:
    """Return what a line of output holds. Never raises.

    Args:
        line: the line.
        find: returns what is known of an image's request, by the image's name.
        is_ended: whether a line end follows it.
    """
    try:
        row = decode_around_pictures(line)
        if not isinstance(row, dict):
            raise TypeError
    except (ValueError, TypeError):
        if not is_ended:
            return Unusable(RowEnd.CUT_OFF, "the file ends within this row")
        return Unusable(RowEnd.UNREADABLE, "this line is no JSON object")
    checked = _check(row, find)
    if isinstance(checked, Usable) or checked.row is None:
        return checked
    return dataclasses.replace(checked, told_by=int(google_crc32c.value(bytes(line))))


def _check(row: Mapping[str, Any], find: FindRow) -> Usable | Unusable:
    request = row.get("request")
    name = label_of(request)
    if name is None:
        return Unusable(RowEnd.UNLABELLED, "its request came back without the label of an image")
    known = find(name)
    if known is None:
        return Unusable(
            RowEnd.UNKNOWN, "its label names no image of this part; is it another job's?"
        )
    if contents_hash(request) != known.request:
        return Unusable(
            RowEnd.ECHO_CHANGED,
            f"its label names image {known.image}, but its request asks for something else",
        )
    if code := _code_in(row.get("status")):
        return _failed(known, code)
    return _check_answer(row.get("response"), known)


def _check_answer(answer: Any, known: ManifestRow) -> Usable | Unusable:
    try:
        found = image_in(answer, known.model, batch=True)
    except CallError as error:
        if error.reason is Reason.BLOCKED:
            detail = f"the model refused image {known.image} for its content"
            return Unusable(RowEnd.REFUSED, detail, known, error.bill)
        if refusal := error_in(answer):
            return _failed(known, _code_in(refusal))
        detail = f"the answer for image {known.image} holds no whole image"
        return Unusable(RowEnd.NO_IMAGE, detail, known, error.bill)
    except Exception as error:  # an answer can have any form
        detail = f"the answer for image {known.image} cannot be read ({type(error).__name__})"
        return Unusable(RowEnd.NO_IMAGE, detail, known)
    version = found.bill.model_version
    if version and not is_version_of(version, known.model):
        detail = f"another model than {known.model} made image {known.image}"
        return Unusable(RowEnd.OTHER_MODEL, detail, known, found.bill)
    return Usable(known, found.images[0], found.bill)


def _failed(known: ManifestRow, code: str) -> Unusable:
    detail = f"the request for image {known.image} failed: {code}"
    return Unusable(RowEnd.FAILED, detail, known, code=code)


def _code_in(status: Any) -> str:
    """Return the code that a status names; empty if it means success.

    Args:
        status: empty for success; else a text, such as `Bad Request: {"error": {…}}`, or a
            google.rpc.Status as an object.
    """
    if isinstance(status, str):
        status = status.strip()
        return _code_in_text(status) if status else ""
    if not isinstance(status, Mapping):
        return WITHOUT_CODE if status else ""
    inner = status.get("error")
    if isinstance(inner, Mapping):
        return _code_in(inner) or WITHOUT_CODE
    name, number = status.get("status"), status.get("code")
    if name in _CODE_NAMES:
        return str(name)
    if type(number) is int and number:
        return _CODES.get(number, str(number))
    # A google.rpc.Status of success has the code 0, or no field at all.
    return WITHOUT_CODE if status.get("message") or name else ""


def _code_in_text(status: str) -> str:
    named = [name for name in _CODE_NAMES if re.search(rf"\b{name}\b", status)]
    if named:
        return min(named, key=status.index)
    number = _HTTP_STATUS.search(status)
    return number[0] if number else WITHOUT_CODE
