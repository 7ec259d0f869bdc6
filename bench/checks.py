"""What is aimed for, and whether what was measured holds it."""

import dataclasses
import statistics
from collections.abc import Iterator
from typing import Any

Figures = dict[str, Any]

# Of a quota: a rate within so much of it has settled.
SETTLED = 0.1
# So much of the cores in use is all of them: the rest is what processes wait for one another.
BUSY = 0.9
# So much of a window in use is a full one: between two calls lies the way there and back.
FULL = 0.95
# Rates are told by windows of so many seconds.
WINDOW_S = 2.0


@dataclasses.dataclass(frozen=True)
class Check:
    """One target: its figure in words, what was measured, and whether it was met."""

    figure: str
    target: str
    measured: str
    met: bool


def median(runs: list[Figures], name: str) -> float:
    """The median of a figure over runs."""
    return statistics.median(run[name] for run in runs)


def of(runs: list[Figures], contender: str, **others: Any) -> list[Figures]:
    """The runs of one contender, of those that have `others`."""
    return [
        run
        for run in runs
        if run["contender"] == contender
        and all(run[name] == value for name, value in others.items())
    ]


def checks(results: Figures) -> Iterator[Check]:
    """Every target that there are figures for."""
    for scenario, check in _CHECKS.items():
        if scenario in results:
            yield from check(results[scenario])


def _comparison(found: Figures) -> Iterator[Check]:
    runs = found["runs"]
    for ours in ("backfill", "stream"):
        rate = median(of(runs, ours), "per_s")
        for other, least, words in (
            ("beam_gemini", 5.0, "Beam's `GeminiModelHandler` in a worker's 12 threads"),
            ("asyncio_genai", 0.95, "asyncio without Beam, storage or publishing"),
        ):
            ratio = rate / median(of(runs, other), "per_s")
            yield Check(
                f"{ours}: prompts/s at 0.5 s, 1.5 MB, 64 in flight, against {words}",
                f"at least {least:g} times",
                f"{ratio:.2f} times",
                ratio >= least,
            )
        cpu = median(of(runs, ours), "cpu_ms")
        yield Check(
            f"{ours}: CPU per prompt at 1.5 MB", "at most 12 ms", f"{cpu:.1f} ms", cpu <= 12
        )
    paid = sum(run["paid_twice"] for run in runs if run["contender"] in ("backfill", "stream"))
    yield Check("calls paid twice", "none", f"{paid}", paid == 0)


def _scaling(found: Figures) -> Iterator[Check]:
    few, many = found["few"], found["many"]
    for ours in ("backfill", "stream"):
        small, large = of(found["runs"], ours, prompts=few), of(found["runs"], ours, prompts=many)
        peak = max(run["peak_mb"] for run in large)
        grown = peak / median(small, "peak_mb") - 1
        yield Check(
            f"{ours}: peak memory, 64 in flight, 1.5 MB, {many:,} prompts",
            "at most 350 MB",
            f"{peak:.0f} MB",
            peak <= 350,
        )
        yield Check(
            f"{ours}: peak memory at {many:,} prompts against {few:,}",
            "the same within 10 %",
            f"{grown:+.1%}",
            abs(grown) <= 0.1,
        )
        ratio = median(small, "per_s") / median(large, "per_s")
        yield Check(
            f"{ours}: time per prompt at {many:,} prompts against {few:,}",
            "at most 1.05",
            f"{ratio:.2f}",
            ratio <= 1.05,
        )


def _wide(found: Figures) -> Iterator[Check]:
    possible = found["in_flight"] / 0.5
    for run in found["runs"]:
        share = run["middle_per_s"] / possible
        yield Check(
            f"{run['contender']}: prompts/s at 0.5 s, {found['in_flight']} in flight, small images",
            "at least 0.85 of in-flight ÷ latency, or both cores busy at under 8 ms a prompt",
            f"{share:.2f} ({run['middle_per_s']:.0f}/s; from the first call to the last outcome "
            f"{run['per_s']:.0f}/s), {run['cpu_ms']:.1f} ms a prompt, "
            f"{run['busy']:.0%} of both cores busy",
            share >= 0.85 or (run["cpu_ms"] < 8 and run["busy"] >= BUSY),
        )


def _tail(found: Figures) -> Iterator[Check]:
    for ours in ("backfill", "stream"):
        without, with_tail = (of(found["runs"], ours, tail_rate=rate)[0] for rate in (0.0, 0.01))
        ratio = with_tail["middle_per_s"] / without["middle_per_s"]
        in_flight = with_tail["middle_in_flight"]
        yield Check(
            f"{ours}: throughput where 1 % of the calls take 20 times as long",
            f"at least 0.85 of that without, or a window of {found['in_flight']} that is full",
            f"{ratio:.2f}, {in_flight:.1f} in flight",
            ratio >= 0.85 or in_flight >= FULL * found["in_flight"],
        )


def _quota(found: Figures) -> Iterator[Check]:
    full, half, again = found["changes"]
    until = found["until"]
    per_s = found["per_minute"] / 60
    # Steady: from when it has settled, by the target's own measure.
    used, refused = shares(found["rows"], full + 15, half, per_s)
    yield Check(
        f"share used of a quota of {found['per_minute']:,.0f} calls/min that nobody told it of",
        "at least 97 %",
        f"{used:.1%}",
        used >= 0.97,
    )
    yield Check("calls refused meanwhile", "at most 2 %", f"{refused:.1%}", refused <= 0.02)
    for words, begin, end, rate in (
        ("halved", half, again, per_s / 2),
        ("restored", again, until, per_s),
    ):
        seconds = settled_after(found["rows"], begin, end, rate)
        yield Check(
            f"the quota is {words}: seconds until the rate has settled within 10 % of it",
            "at most 10 s",
            f"{seconds:.1f} s" if seconds is not None else "never",
            seconds is not None and seconds <= 10,
        )
    yield Check("prompts that failed by it", "none", str(found["failed"]), found["failed"] == 0)


def _latency(found: Figures) -> Iterator[Check]:
    for name, words, most in (("median_s", "median", 1.0), ("p99_s", "99th percentile", 2.0)):
        yield Check(
            f"stream at 2 prompts/s, model of 10 s: from publish to prediction beyond it, {words}",
            f"under {most:g} s",
            f"{found[name]:.2f} s",
            found[name] < most,
        )


def _files(found: Figures) -> Iterator[Check]:
    few, many = found["few"], found["many"]
    small, large = (of(found["runs"], "backfill", prompts=size) for size in (few, many))
    ratio = median(small, "per_s") / median(large, "per_s")
    yield Check(
        f"{many:,} short prompts, a model that answers at once: time per prompt against {few:,}",
        "at most 1.05",
        f"{ratio:.2f} ({median(large, 'per_s'):.0f}/s)",
        ratio <= 1.05,
    )
    peak = max(run["peak_mb"] for run in large)
    yield Check("peak memory of that", "at most 350 MB", f"{peak:.0f} MB", peak <= 350)


def shares(
    rows: list[tuple[float, int, int]], begin: float, end: float, per_s: float
) -> tuple[float, float]:
    """What share of a quota was used between two times, and what share of calls was refused."""
    at = [row for row in rows if begin <= row[0] <= end]
    (first, calls_before, refused_before), (last, calls, refused) = at[0], at[-1]
    made, no = calls - calls_before, refused - refused_before
    return (made - no) / ((last - first) * per_s), no / made


def rates(rows: list[tuple[float, int, int]]) -> list[tuple[float, float, float]]:
    """Accepted and refused calls a second, by windows: (end of the window, accepted, refused)."""
    found = []
    start = 0
    for end in range(len(rows)):
        if rows[end][0] - rows[start][0] >= WINDOW_S:
            seconds = rows[end][0] - rows[start][0]
            refused = rows[end][2] - rows[start][2]
            accepted = rows[end][1] - rows[start][1] - refused
            found.append((rows[end][0], accepted / seconds, refused / seconds))
            start = end
    return found


def settled_after(
    rows: list[tuple[float, int, int]], begin: float, end: float, per_s: float
) -> float | None:
    """Seconds after `begin` from which on two windows in three are within `SETTLED` of a rate."""
    there = [
        (at, abs(accepted / per_s - 1) <= SETTLED)
        for at, accepted, _ in rates(rows)
        if begin + WINDOW_S <= at <= end
    ]
    for place, (at, well) in enumerate(there):
        rest = [ok for _, ok in there[place:]]
        if (
            well
            and sum(rest) >= 2 / 3 * len(rest)
            and all(ok for _, ok in there[place : place + 2])
        ):
            return at - begin
    return None


_CHECKS = {
    "comparison": _comparison,
    "scaling": _scaling,
    "wide": _wide,
    "quota": _quota,
    "tail": _tail,
    "latency": _latency,
    "files": _files,
}
