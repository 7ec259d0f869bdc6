"""What became of the rows of output: of one row, and of all rows for one prompt together. Pure.

A row may come twice, and so may an image: a batch job whose creation was answered late may have
been created again. So what counts is decided once all rows of a prompt are together.
"""

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator

from beam_jobs.catalog import BATCH_TIER
from beam_jobs.images.receipt import Receipt
from beam_jobs.models.bill import FREE, Bill
from beam_jobs.outcomes import NANO_PER_USD, Work
from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.output_row import RowEnd
from beam_jobs.prefetch.tally import Tally

_WITH_IMAGE = frozenset({RowEnd.STORED, RowEnd.ALREADY_THERE})
_FIRST = {RowEnd.STORED: 0, RowEnd.ALREADY_THERE: 1}


@dataclasses.dataclass(frozen=True, slots=True)
class RowReceipt:
    """What became of one row whose image is known.

    Attributes:
        row: what is known of the request.
        end: what became of it.
        told_by: what tells it from other rows for the image: the same if it was written twice.
        bill: what it cost.
        path: gs:// path of the image; empty if none is in the store for it.
        code: of a row that failed: the name of its code.
        bytes: of the image, if this run stored it.
        problem: a sentence for people; empty if nothing is wrong.
    """

    row: ManifestRow
    end: RowEnd
    told_by: int
    bill: Bill = FREE
    path: str = ""
    code: str = ""
    bytes: int = 0
    problem: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """All rows for one prompt together.

    Attributes:
        images: the gs:// path of each image that is in the store, by index.
        is_whole: whether these are all that the prompt asks for.
        receipt: what was paid for them.
        tally: what became of the rows.
    """

    images: dict[int, str]
    is_whole: bool
    receipt: Receipt
    tally: Tally


def settled(receipts: Collection[RowReceipt]) -> Settlement:
    """Return what the rows for one prompt come to.

    Of several images for one index, the one that was stored counts. The others were paid for, too.

    Args:
        receipts: of all rows with the prompt's digest, at least one, in any order.
    """
    counts: collections.Counter[str] = collections.Counter()
    problems: list[tuple[RowEnd, str]] = []
    images: dict[int, str] = {}
    bills: list[Bill] = []
    by_image = sorted(receipts, key=_order)
    for index, rows in itertools.groupby(by_image, key=lambda each: each.row.index):
        counts["images_answered"] += 1
        for each, end, is_new in _ended(rows):
            counts[f"rows.{end}"] += 1
            if is_new:
                bills.append(each.bill)
                counts["images"] += _made_image(each)
            if end in _WITH_IMAGE:
                images[index] = each.path
            if end is RowEnd.STORED:
                counts["bytes"] += each.bytes
            if end is RowEnd.FAILED:
                counts[f"failed.{each.code}"] += 1
            if end is RowEnd.DOUBLED:
                problems.append((end, f"image {each.row.image}: several rows are for it"))
            elif each.problem:
                problems.append((end, each.problem))
    first = by_image[0].row
    work = _work(bills)
    counts.update(
        {
            "nano_usd": work.nano_usd,
            "unpriced_rows": work.unpriced_calls,
            "tokens.input": work.input_tokens,
            "tokens.text": work.text_tokens,
            "tokens.image": work.image_tokens,
        }
    )
    return Settlement(
        images=images,
        is_whole=set(range(first.images)) <= images.keys(),
        receipt=Receipt(first.payer, work),
        tally=Tally(dict(counts), tuple(problems)),
    )


def _order(receipt: RowReceipt) -> tuple[int, int, str, int]:
    """Return what rows are sorted by: the image, and first the row whose image is in the store."""
    return receipt.row.index, _FIRST.get(receipt.end, 2), receipt.path, receipt.told_by


def _ended(rows: Iterable[RowReceipt]) -> Iterator[tuple[RowReceipt, RowEnd, bool]]:
    """Yield each row for an image, how it counts, and whether it is no copy of an earlier one."""
    seen: set[int] = set()
    has_image = False
    for each in rows:
        is_new, with_image = each.told_by not in seen, each.end in _WITH_IMAGE
        is_doubled = not is_new or (with_image and has_image)
        yield each, RowEnd.DOUBLED if is_doubled else each.end, is_new
        seen.add(each.told_by)
        has_image = has_image or with_image


def _made_image(receipt: RowReceipt) -> bool:
    """Whether a row was paid for an image, whatever became of it."""
    return receipt.end in _WITH_IMAGE or receipt.bill.image_tokens > 0


def _work(bills: Iterable[Bill]) -> Work:
    bills = list(bills)
    nano_usd = sum(round((bill.usd or 0.0) * NANO_PER_USD) for bill in bills)
    return Work(
        cost_usd=nano_usd / NANO_PER_USD,
        unpriced_calls=sum(bill.usd is None for bill in bills),
        input_tokens=sum(bill.input_tokens for bill in bills),
        text_tokens=sum(bill.text_tokens for bill in bills),
        image_tokens=sum(bill.image_tokens for bill in bills),
        tier=BATCH_TIER,
    )
