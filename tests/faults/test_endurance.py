"""Hours of running, shortened: what a stream takes of its machine does not grow."""

import pytest

from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

# Beyond what was there after three tenths, when all is warm. Python gives memory back late.
MAX_MORE_MB = 40
MAX_MORE = {"threads": 4, "files": 12, "sockets": 12}


def test_a_stream_that_has_run_for_long_takes_no_more_than_before(
    faults, lane, start, books, paid, unanswered
):
    count = faults.many(50_000, least=2_000)
    bodies = prompt_bodies("long", count)
    job = start("stream")
    taken: list[tuple[float, ...]] = []

    def look() -> None:
        taken.append((job.memory_mb(), job.threads(), job.files(), job.sockets()))

    def grown() -> list[str]:
        """Look again, at all but memory: of what there is more than may be."""
        look()
        more = zip(MAX_MORE.items(), taken[2][1:], taken[-1][1:], strict=True)
        return [name for (name, most), before, after in more if after - before > most]

    for part in range(10):
        lane.publish(*bodies[part * count // 10 : (part + 1) * count // 10])
        done = (part + 1) * count // 10
        eventually(lambda done=done: books.count() >= done, within_s=300, what=f"{done} outcomes")
        look()
    # The last outcomes may be out while the batches that they came of have yet to end.
    eventually(lambda: not grown(), what="as few threads, open files and sockets as before")
    job.finish()
    books.settle()
    warm, last = taken[2], taken[-1]
    twice = paid() - count
    faults.row(
        "stream: a long run",
        f"{count:,} prompts; memory {warm[0]:.0f} to {last[0]:.0f} MB, threads {warm[1]} to "
        f"{last[1]}, open files {warm[2]} to {last[2]}, sockets {warm[3]} to {last[3]}",
        **books.figures(bodies, twice, unanswered()),
    )
    assert twice == 0
    assert last[0] - warm[0] < MAX_MORE_MB
