import zlib

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.pipeline.blocks import MOST_BYTES, MOST_ROWS, Packer, SpreadRows, rows_of
from beam_jobs.prompts.incoming import RawPrompt


def row(number: int, body: bytes = b"") -> RawPrompt:
    return RawPrompt(
        body=body or b"A fox in the snow, number %d" % number,
        attributes={"file": "gs://bucket/prompts/a.txt", "line": str(number)},
        origin=f"gs://bucket/prompts/a.txt:{number}",
    )


def failure(body: bytes = b"") -> Failure:
    return Failure(
        prompt_id="1",
        deduplication_key="2",
        reason=Reason.INVALID_PROMPT,
        detail="line 3: expected a prompt",
        retryable=False,
        attempts=0,
        body=body,
    )


def unpacked(blocks: list[bytes]) -> list[RawPrompt | Failure]:
    return [each for block in blocks for each in rows_of(block)]


def test_every_row_and_failure_comes_out_as_it_went_in_and_in_order():
    rows = [row(1), failure(), *(row(number) for number in range(2, 500)), failure()]
    assert unpacked(list(Packer().blocks(rows))) == rows


def test_no_rows_are_no_block():
    assert list(Packer().blocks([])) == []


def test_a_few_rows_are_spread_one_by_one_and_many_in_large_blocks():
    blocks = list(Packer().blocks(row(number) for number in range(20_000)))
    sizes = [len(rows_of(block)) for block in blocks]
    assert sizes[:16] == [1] * 16
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) == MOST_ROWS
    assert len(sizes) < 20_000 / MOST_ROWS + 100


def test_blocks_stay_large_from_one_file_to_the_next():
    packer = Packer()
    list(packer.blocks(row(number) for number in range(2_000)))
    (block,) = packer.blocks(row(number) for number in range(MOST_ROWS))
    assert len(rows_of(block)) == MOST_ROWS


@pytest.mark.parametrize("large", [row(0, b"x" * MOST_BYTES), failure(b"x" * MOST_BYTES)])
def test_a_block_ends_with_a_large_row(large):
    packer = Packer()
    list(packer.blocks(row(number) for number in range(2_000)))
    blocks = list(packer.blocks([row(1), large, row(2)]))
    assert [len(rows_of(block)) for block in blocks] == [2, 1]


def test_a_short_prompt_takes_fewer_than_60_bytes():
    rows = [row(number) for number in range(10_000)]
    assert sum(map(len, Packer().blocks(rows))) < 60 * len(rows)


def test_a_damaged_block_is_an_error_and_never_fewer_rows():
    (block,) = Packer().blocks([row(1)])
    with pytest.raises(zlib.error):
        rows_of(block[:-3])


def test_what_is_spread_arrives_once():
    rows = [row(number) for number in range(300)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        blocks = pipeline | beam.Create(list(Packer().blocks(rows)), reshuffle=False)
        origins = blocks | SpreadRows() | beam.Map(lambda each: each.origin)
        assert_that(origins, equal_to([each.origin for each in rows]))
