"""What is far too large, wherever it comes from: bounded memory, and one failure each."""

import gzip
import io

import pytest

from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

# Of a stream's process with nothing of this; what is too large may take so much more.
MAX_MORE_MB = 400


def bomb(megabytes: int, line: bytes) -> bytes:
    """Return a small gzip of a large file."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as out:
        for _ in range(megabytes):
            out.write(line * (1_000_000 // len(line)))
    return packed.getvalue()


def test_what_is_too_large_for_a_prompt_is_one_failure_each(faults, lane, start, books):
    job = start("stream")
    first = prompt_bodies("first", 1)
    lane.publish(*first)
    books.wait(first)
    before = job.memory_mb()
    bodies = [b"%d " % n + b"x" * (9_900_000 - 2) for n in range(faults.many(20, least=3))]
    long = [b"%d " % n + b"x" * 100_000 for n in range(faults.many(200, least=20))]
    for body in bodies:
        lane.publish(body)
    lane.publish(*long)
    last = prompt_bodies("last", 10)
    lane.publish(*last)
    books.wait([*last, *long])

    def cut() -> list[bytes]:
        """Those dead letters that carry the beginning of a long body."""
        return [one for one in list(books.failures) if len(one) > 200_000]

    eventually(lambda: len(cut()) == len(bodies), what="a dead letter for each long body")
    more = job.peak_mb() - before
    job.finish()
    books.settle()
    faults.row(
        "stream: bodies of 10 MB, prompts of 100,000 characters",
        f"{len(bodies)} and {len(long)}; memory at most {more:.0f} MB more",
        lost=len(books.missing(long)) + len(bodies) - len(cut()),
    )
    assert set(books.reasons) == {"INVALID_PROMPT"}
    assert more < MAX_MORE_MB


def test_answers_that_are_too_large_or_no_images_are_one_failure_each(
    faults, cloud, lane, start, books
):
    job = start("stream")
    first = prompt_bodies("first", 1)
    lane.publish(*first)
    books.wait(first)
    before = job.memory_mb()
    cloud.models(canned_bytes=50_000_000)
    large = prompt_bodies("large", faults.many(40, least=4))
    lane.publish(*large)
    books.wait(large)
    cloud.models(canned_bytes=2_000)
    none = prompt_bodies("fault:not-an-image", faults.many(200, least=10))
    lane.publish(*none)
    books.wait(none)
    peak = job.peak_mb() - before
    job.finish()
    books.settle()
    faults.row(
        "stream: answers of 50 MB, answers that are no image",
        f"{len(large)} and {len(none)}; memory at most {peak:.0f} MB more",
        lost=len(books.missing([*large, *none])),
    )
    assert set(books.reasons) == {"NO_IMAGE"}
    assert len(books.failures) == len(large) + len(none)
    assert peak < MAX_MORE_MB


# Lines are read one by one, whatever is in them: a million empty ones take a second.
@pytest.mark.full
@pytest.mark.parametrize(
    ("line", "full_mb", "least_mb"),
    [(b"x", 4_000, 200), (b"\n", 200, 5)],
    ids=["one-line", "empty-lines"],
)
def test_a_file_that_unpacks_to_more_than_any_memory_is_read_in_little(
    line, full_mb, least_mb, faults, lane, start, books
):
    megabytes = faults.many(full_mb, least=least_mb)
    lane.put("night/bomb.txt.gz", bomb(megabytes, line))
    good = prompt_bodies("beside", 10)
    lane.put("night/good.jsonl", b"\n".join(good))
    path = lane.put("night/small.txt", b"a fox\n").rpartition("/")[0]
    job = start("backfill", prompts=f"{path}/*")

    def over() -> bool:
        job.peak_mb()
        return not job.running

    eventually(over, within_s=600, what="the end of the backfill")
    assert job.ended() == 0, job.last_words()
    books.wait(good)
    books.settle()
    peak = job.peak_mb()
    faults.row(
        f"backfill: a .gz of {megabytes:,} MB of {line!r}",
        f"{len(books.failures)} failures; peak {peak:.0f} MB",
        lost=len(books.missing(good)),
    )
    assert len(books.failures) == (1 if line == b"x" else 0)
    assert peak < MAX_MORE_MB
