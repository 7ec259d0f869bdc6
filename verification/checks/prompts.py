"""Twenty prompts of every kind, on the default model: what comes back, and what is stored."""

import dataclasses
import functools
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from beam_jobs.catalog import CATALOG
from beam_jobs.cli.publish import publish
from beam_jobs.names import PROMPT_TEMPLATES_FOLDER
from beam_jobs.outcomes import Reason
from verification import dataflow
from verification.access import TIMEOUT_S
from verification.check import Check, DiffersError, Seen
from verification.checks.page import image_check
from verification.deployment import Deployment
from verification.outcomes import Outcomes, said_in
from verification.visit import Visit

_COUNT = 20
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of prompt, and what becomes of it.

    Args:
        what: in words; also a part of its text.
        fields: besides its text; None: the text alone is the body.
        images: how many it gets; 0: it becomes a dead letter.
        raw: the whole body, in place of text and fields.
        found_by: what its outcome says, if that isn't the mark and the kind.
    """

    what: str
    fields: dict[str, Any] | None = None
    images: int = 1
    raw: bytes | None = None
    found_by: str = ""


def kinds(mark: str, bucket: str) -> tuple[Kind, ...]:
    """Return the kinds: 14 that get images, and 6 that are invalid.

    A prompt that a model refuses is not among them: nothing harmless is sure to be.
    """
    return (
        Kind("plain text"),
        Kind("text in another script: 雪の中の狐"),
        Kind("fields", {}),
        # With an ID of its own: otherwise both outcomes would have the same deduplication key.
        Kind(
            "the same again",
            raw=_body(f"fields ({mark} fields)", {"id": f"{mark}-again"}),
            found_by=f"{mark}-again",
        ),
        Kind("two images", {"images": 2}, images=2),
        Kind("a wide image", {"aspect_ratio": "16:9"}),
        Kind("a seed", {"seed": 7}),
        Kind("a large image", {"image_size": "2K"}),
        Kind("much thought", {"thinking_level": "high"}),
        Kind("a style", {"system_instruction": "Draw with a thick pencil."}),
        Kind("a JPEG", {"output_format": "jpeg", "output_quality": 80}),
        Kind("a reference", {"references": [f"gs://{bucket}/references/{mark}/red.png"]}),
        Kind("a template", raw=_template_body(mark)),
        Kind("new images", {"reuse": False}),
        Kind(
            "no UTF-8",
            images=0,
            raw=b"\xff\xfe no UTF-8 " + mark.encode(),
            found_by=f"no UTF-8 {mark}",
        ),
        Kind("broken JSON", images=0, raw=f'{{"prompt": "{mark} broken JSON'.encode()),
        Kind("an unknown field", {"imagse": 2}, images=0),
        Kind("too many images", {"images": 9}, images=0),
        Kind("a model that isn't allowed", {"model": "imagen-0.0-none"}, images=0),
        Kind(
            "no text",
            images=0,
            raw=_body("  ", {"id": f"{mark}-no-text"}),
            found_by=f"{mark}-no-text",
        ),
    )


def _body(text: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"prompt": text, **fields}, ensure_ascii=False).encode()


def _template_body(mark: str) -> bytes:
    return json.dumps({"template": mark, "vars": {"what": "a template"}}).encode()


def body_of(kind: Kind, mark: str) -> bytes:
    """Return the message of a kind of prompt; its text has the mark and the kind in it."""
    text = f"{kind.what} ({mark} {kind.what})"
    if kind.raw is not None:
        return kind.raw
    return text.encode() if kind.fields is None else _body(text, kind.fields)


def _prepare(visit: Visit) -> None:
    """Put the template and the picture there that prompts name."""
    bucket = visit.access.storage().bucket(visit.deployment.bucket)
    for name, content, kind in (
        (
            f"{PROMPT_TEMPLATES_FOLDER}/{visit.mark}.txt",
            f"{{what}} ({visit.mark} {{what}})".encode(),
            "text/plain",
        ),
        (f"references/{visit.mark}/red.png", _red_square(), "image/png"),
    ):
        blob = bucket.blob(name)
        blob.upload_from_string(content, content_type=kind, timeout=TIMEOUT_S)
        visit.at_the_end(
            f"delete gs://{visit.deployment.bucket}/{name}",
            functools.partial(blob.delete, timeout=TIMEOUT_S),
        )


def _prompts(visit: Visit) -> Seen:
    mark, where = visit.mark, visit.deployment
    outcomes = Outcomes.of(visit)
    _prepare(visit)
    all_kinds = kinds(mark, where.bucket)
    bodies = [body_of(kind, mark) for kind in all_kinds]
    publish(where.topic(where.prompts_topic), bodies, {})
    visit.wait_for(lambda: len(_ours(outcomes, mark)) >= _COUNT)
    came = _ours(outcomes, mark)
    usd = sum(each.get("cost_usd") or 0.0 for each in came)
    problems = _problems(all_kinds, came, mark)
    unknown = [each for each in came if each.get("images") and each.get("cost_usd") is None]
    if unknown:
        problems.append(f"{len(unknown)} predictions don't know what they cost")
    if problems:
        raise DiffersError("; ".join(problems), usd=usd)
    visit.known["images"] = [path for each in came for path in each.get("images", [])]
    visit.known["predictions"] = [each for each in came if "reason" not in each]
    slowest = max(each["latency_ms"] for each in visit.known["predictions"]) / 1000
    return Seen(
        f"{_COUNT} outcomes, {len(set(visit.known['images']))} images; the slowest prompt took "
        f"{slowest:.0f} s; {usd:.3f} USD",
        usd,
        facts={"latencies_ms": [each["latency_ms"] for each in visit.known["predictions"]]},
    )


def _ours(outcomes: Outcomes, mark: str) -> list[dict[str, Any]]:
    """Return the outcomes of these prompts, not of others with the same mark."""
    others = tuple(f"{mark}-{more}".encode() for more in ("update", "drain", "cancel", "backfill"))
    found = outcomes.marked(mark)
    return [each for each in found if not any(other in said_in(each) for other in others)]


def _problems(all_kinds: tuple[Kind, ...], came: list[dict[str, Any]], mark: str) -> list[str]:
    """Say what did not become what it should."""
    problems = []
    if len(came) != _COUNT:
        problems.append(f"{len(came)} outcomes of {_COUNT} prompts")
    for kind in all_kinds:
        wanted = (kind.found_by or f"{mark} {kind.what}").encode()
        found = [each for each in came if wanted in said_in(each)]
        if not found:
            problems.append(f"no outcome of {kind.what!r}")
            continue
        one = found[0]
        got = len(one.get("images", []))
        if got != kind.images:
            said = f"{one['reason']}: {one['detail']}" if "reason" in one else f"{got} images"
            problems.append(f"{kind.what!r} became {said}, expected {kind.images} images")
        elif not kind.images and one["reason"] != Reason.INVALID_PROMPT:
            problems.append(f"{kind.what!r} became {one['reason']}: {one['detail']}")
    same = [each for each in came if f"{mark} fields".encode() in said_in(each)]
    if len(same) == 2 and len({tuple(each.get("images", [])) for each in same}) != 1:
        problems.append("the same prompt twice got different images")
    return problems


def _stored(visit: Visit) -> Seen:
    """Read the beginning of each image."""
    client, sizes = visit.access.storage(), []
    jpegs = 0
    for path in sorted(set(visit.known["images"])):
        bucket, _, name = path.removeprefix("gs://").partition("/")
        content = client.bucket(bucket).blob(name).download_as_bytes(timeout=TIMEOUT_S)
        if not content.startswith((_PNG, _JPEG, b"RIFF")):
            raise DiffersError(f"{path} is no image: it begins with {content[:8]!r}")
        jpegs += content.startswith(_JPEG)
        sizes.append(len(content))
    return Seen(
        f"{len(sizes)} images of {min(sizes):,} to {max(sizes):,} bytes, {jpegs} of them JPEG",
        facts={"bytes": sizes},
    )


def _bills(visit: Visit) -> Seen:
    """Compare what predictions cost with what their tokens cost by the catalog."""
    model = visit.deployment.model
    row = CATALOG.get(model)
    if row is None:
        raise DiffersError(f"the catalog has no prices of {model}")
    prices = row.usd_per_million_tokens
    paid = [each for each in visit.known["predictions"] if not each["reused"]]
    problems = []
    for each in paid:
        tokens = each["tokens"]
        usd = (
            tokens["input"] * prices.input
            + tokens["text"] * prices.text_output
            + tokens["image"] * prices.image_output
        ) / 1e6
        if not tokens["image"] or abs(usd - each["cost_usd"]) > 0.02 * usd:
            problems.append(f"{each['cost_usd']} USD for {tokens}, expected {usd:.4f}")
    if problems:
        raise DiffersError("; ".join(problems[:3]))
    thoughts = [each["tokens"]["text"] for each in paid]
    return Seen(
        f"{len(paid)} predictions cost what their tokens cost; {sum(thoughts) // len(thoughts)} "
        "tokens of thought and words each",
        facts={"text_tokens": thoughts},
    )


def _refused_calls(visit: Visit) -> Seen:
    """Look how many calls of the stream were refused, and that no prompt suffered from it."""
    job = visit.known["stream job"]
    # Dataflow hears of them from workers now and then.
    visit.wait_for(lambda: dataflow.counters(visit, job).get("prompts"))
    counters = dataflow.counters(visit, job)
    if not counters.get("prompts"):
        raise DiffersError(f"the job's counters have no prompts: {sorted(counters)}")
    calls, refused = counters.get("model_calls", 0), counters.get("quota_refusals", 0)
    return Seen(f"of {calls} model calls, {refused} were refused for quota", facts=dict(counters))


def _red_square() -> bytes:
    """Return a PNG of 64 × 64 red pixels."""
    side = 64

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\x00" + b"\xd6\x28\x28" * side) * side
    out = io.BytesIO(b"")
    out.write(b"\x89PNG\r\n\x1a\n")
    out.write(chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)))
    out.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return out.getvalue()


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield them."""
    row = CATALOG.get(deployment.model)
    usd = (row.usd_per_image(None) if row else None) or 0.25
    images = sum(kind.images for kind in kinds("", "")) - 1  # one is found again
    yield Check(
        name="prompts",
        believed="Each prompt has one outcome: images, or a dead letter with the right reason.",
        where="beam_jobs/prompts/parse.py",
        expected="14 predictions with their images, and 6 dead letters INVALID_PROMPT",
        ask=_prompts,
        needs=("stream start",),
        # Thoughts and the large image included.
        usd=1.2 * images * usd,
        limit_s=5 * 60.0,
    )
    yield Check(
        name="images stored",
        believed="What predictions name is in the bucket, and is a picture.",
        where="beam_jobs/images/store.py",
        expected="PNG, JPEG, or WebP at each path",
        ask=_stored,
        needs=("prompts",),
    )
    yield Check(
        name="bills",
        believed="Predictions cost what their tokens cost by the catalog.",
        where="beam_jobs/models/bill.py",
        expected="within two percent",
        ask=_bills,
        needs=("prompts",),
    )
    yield Check(
        name="counters",
        believed="Dataflow has the job's counters, and calls over the quota are counted there.",
        where="beam_jobs/metrics.py",
        expected="prompts above 0",
        ask=_refused_calls,
        needs=("prompts",),
        limit_s=3 * 60.0,
    )
    yield image_check()
