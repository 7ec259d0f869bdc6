import hashlib
import tracemalloc

import pytest

from imagen_ops.backfill.distinct import PARTS, Digests
from imagen_ops.backfill.file_count import PriceGroup

ONE, FOUR = PriceGroup("m", 1, False), PriceGroup("m", 4, False)


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()[:16]


def test_every_digest_comes_once_in_order_with_its_kind() -> None:
    digests = Digests()
    digests.add(ONE, b"".join(map(digest, range(300))))
    digests.add(FOUR, b"".join(map(digest, range(300, 400))))
    digests.add(ONE, b"".join(map(digest, range(100))))
    entries = [entry for part in PARTS for entry in digests.distinct(part)]
    assert entries == sorted(
        (digest(number).hex(), ONE if number < 300 else FOUR) for number in range(400)
    )


@pytest.mark.full
def test_a_hundred_thousand_digests_take_little_more_than_their_bytes() -> None:
    every = b"".join(map(digest, range(100_000)))
    tracemalloc.start()
    try:
        digests = Digests()
        digests.add(ONE, every)
        count = sum(len(digests.distinct(part)) for part in PARTS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 100_000 * 24
