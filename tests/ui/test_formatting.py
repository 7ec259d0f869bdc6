"""How the page formats numbers, times and axes: what is rounded, and which way."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.slow


@pytest.fixture
def results(visit: Callable[..., Page]) -> Callable[..., list[Any]]:
    """Call a function of the page's scripts with each list of arguments."""
    page = visit(wait=False)

    def call(script: str, function: str, *arguments: list[Any]) -> list[Any]:
        answers: list[Any] = page.evaluate(
            """async ([script, name, calls]) => {
                const module = await import(new URL(`assets/${script}`, document.baseURI));
                return calls.map((args) => module[name](...args));
            }""",
            [script, function, arguments],
        )
        return answers

    return call


def test_durations_are_rounded_down_to_their_two_largest_units(
    results: Callable[..., list[Any]],
) -> None:
    seconds = {
        -1: "0 s", 0: "0 s", 4.25: "4.3 s", 9.99: "10 s", 45.9: "45 s", 60: "1 min",
        119: "1 min 59 s", 3_605: "1 h", 12_000: "3 h 20 min", 86_399: "23 h 59 min",
        93_600: "1 d 2 h", 863_999_999: "9,999 d 23 h", 864_000_000: "over 10,000 d",
    }  # fmt: skip

    assert results("formatting.js", "duration", *([each] for each in seconds)) == list(
        seconds.values()
    )


def test_ages_are_rounded_down_to_their_largest_unit(results: Callable[..., list[Any]]) -> None:
    seconds = {
        -30: "just now", 9.9: "just now", 10: "10 s ago", 119: "1 min ago", 7_199: "1 h ago",
        172_799: "1 d ago", 86_400 * 1_200: "1,200 d ago",
    }  # fmt: skip

    assert results("formatting.js", "ago", *([each] for each in seconds)) == list(seconds.values())


def test_small_amounts_are_not_shown_as_zero_and_neither_are_unknown_ones(
    results: Callable[..., list[Any]],
) -> None:
    assert results("formatting.js", "dollars", [0], [0.004], [0.01], [1204.5], [None]) == [
        "$0.00",
        "under $0.01",
        "$0.01",
        "$1,204.50",
        "–",
    ]
    assert results("formatting.js", "share", [0, 5], [1, 1000], [1, 3], [1, 0], [None, 5]) == [
        "0%",
        "under 1%",
        "33%",
        "–",
        "–",
    ]
    assert results("formatting.js", "number", [0.125], [9.5], [10.4], [12345], [None]) == [
        "0.13",
        "9.5",
        "10",
        "12,345",
        "–",
    ]
    assert results("formatting.js", "count", [0, "prompt"], [1, "prompt"], [3400, "prompt"]) == [
        "0 prompts",
        "1 prompt",
        "3,400 prompts",
    ]


def test_bytes_are_in_thousands(results: Callable[..., list[Any]]) -> None:
    assert results("formatting.js", "bytes", [0], [999], [1000], [92_815_500_000], [4e18]) == [
        "0 B",
        "999 B",
        "1 kB",
        "92.8 GB",
        "4,000 PB",
    ]


def test_an_axis_has_room_for_the_highest_value_and_round_lines(
    results: Callable[..., list[Any]],
) -> None:
    highest = {
        (0, "rate"): [0, 0.5, 1],
        (0, "count"): [0, 2, 4],
        (5000, "count"): [0, 2000, 4000, 6000],
        (6000, "count"): [0, 2000, 4000, 6000],
        (0, "duration"): [0, 5, 10],
        (100, "duration"): [0, 60, 120],
        (200_000, "duration"): [0, 86_400, 172_800, 259_200],
    }

    assert results("scales.js", "axis", *highest) == [
        {"top": ticks[-1], "ticks": ticks} for ticks in highest.values()
    ]
    on_axis = results(
        "scales.js",
        "formatOnAxis",
        [0, "duration"],
        [7200, "duration"],
        [0.5, "rate"],
        [6000, "count"],
    )
    assert on_axis == ["0", "2 h", "0.5", "6K"]


def test_ticks_are_round_by_the_readers_clock_and_fit_the_axis(
    results: Callable[..., list[Any]],
) -> None:
    # In Berlin this day has 25 hours: from 22:00 to 23:00 in UTC.
    first, hour = 1_792_879_200_000, 3_600_000
    few, many = results(
        "scales.js", "timeTicks", [first, first + 25 * hour, 5], [first, first + 25 * hour, 13]
    )

    assert [(tick - first) // hour for tick in few] == [0, 7, 13, 19, 25]
    assert [(tick - first) // hour for tick in many] == [0, 2, *range(5, 26, 2)]

    short, week, month = results(
        "scales.js",
        "timeTicks",
        [first + 70_000, first + hour, 6],
        [first + 70_000, first + 7 * 24 * hour, 8],
        [first, first + 31 * 24 * hour, 5],
    )
    assert [(tick - first) / 60_000 for tick in short] == [10, 20, 30, 40, 50, 60]
    assert [(tick - first) // hour for tick in week] == [25 + 24 * day for day in range(6)]
    assert [(tick - first) // hour for tick in month] == [0, *(1 + 168 * n for n in range(1, 5))]
    texts = results(
        "scales.js",
        "formatTick",
        *([first, first, first + length * hour] for length in (24, 168)),
    )
    assert texts == ["00:00", "25 Oct"]
