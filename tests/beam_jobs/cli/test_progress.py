"""Progress as text."""

import pytest

from beam_jobs.cli.progress import Progress, Tally, bar, counted, duration, rate


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def add(progress, count):
    for _ in range(count):
        progress.add()


def test_a_known_total_gives_share_rate_and_what_is_left(clock):
    progress = Progress("publishing", 100_000, clock=clock)
    assert str(progress) == "publishing   0% ░░░░░░░░░░░░ 0/100,000 · 0.0/s · 0:00"
    add(progress, 40_000)
    clock.now += 8
    assert (
        str(progress) == "publishing  40% ████░░░░░░░░ 40,000/100,000 · 5,000/s · 0:08 · 0:12 left"
    )
    add(progress, 60_000)
    clock.now += 12
    assert str(progress).startswith("publishing 100% ████████████ 100,000/100,000 · ")
    assert "left" not in str(progress)
    assert progress.ended() == "100,000 in 0:20, 5,000/s"


def test_without_a_total_it_counts(clock):
    progress = Progress("seen", clock=clock)
    add(progress, 7)
    clock.now += 2
    assert str(progress) == "seen 7 · 3.5/s · 0:02"


def test_the_rate_is_that_of_the_last_seconds(clock):
    progress = Progress("seen", clock=clock)
    add(progress, 1000)
    for _ in range(20):
        clock.now += 1
        assert str(progress)
    assert "· 0.0/s ·" in str(progress), "what came 20 s ago says nothing of now"
    for _ in range(5):
        clock.now += 1
        add(progress, 10)
        text = str(progress)
    assert "· 5.0/s ·" in text, "50 in the last 10 s"


def test_a_count_of_zero_leaves_no_summary(clock):
    assert Progress("publishing", 10, clock=clock).ended() == ""
    assert str(Progress("publishing", 0, clock=clock)).startswith("publishing 100% ")


def test_messages_are_counted_by_kind_and_reason():
    tally = Tally()
    assert str(tally) == "0 predictions, 0 dead letters"
    for message in (
        {"reused": False, "canary": False},
        {"reused": True, "canary": False},
        {"reason": "BLOCKED"},
        {"reason": "NO_IMAGE"},
        {"reason": "NO_IMAGE"},
        {"reused": False, "canary": True},
    ):
        tally.add(message)
    assert str(tally) == (
        "2 predictions (1 reused), 3 dead letters (2 NO_IMAGE, 1 BLOCKED), 1 canary"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(7.9), "0:07"),
        (duration(754), "12:34"),
        (duration(3723), "1:02:03"),
        (rate(0), "0.0/s"),
        (rate(0.05), "3/min"),
        (rate(3.21), "3.2/s"),
        (rate(22285.4), "22,285/s"),
        (bar(0), "░" * 12),
        (bar(0.5), "█" * 6 + "░" * 6),
        (bar(1.5), "█" * 12),
        (counted(1, "image"), "1 image"),
        (counted(1200, "image"), "1,200 images"),
        (counted(2, "canary", "canaries"), "2 canaries"),
    ],
)
def test_numbers_are_written_as_people_read_them(text, expected):
    assert text == expected
