"""The targets, and whether the measured figures meet them."""

from collections.abc import Iterator

from bench.check import Check, Figures, median, runs_of
from bench.wide_worker_checks import storage_limits, thousand

# A rate that is within this share of a quota has settled.
SETTLED = 0.1
# From this share on, the cores count as fully busy: processes also wait for one another.
BUSY = 0.9
# From this share on, a window counts as full: there is a round trip between two calls.
FULL = 0.95
# Rates are computed over windows of this length.
WINDOW_S = 2.0


def checks(results: Figures) -> Iterator[Check]:
    """Yield every target that there are figures for."""
    for scenario, check in _CHECKS.items():
        if scenario in results:
            yield from check(results[scenario])


def _comparison(figures: Figures) -> Iterator[Check]:
    runs = figures["runs"]
    for ours in ("backfill", "stream"):
        rate = median(runs_of(runs, ours), "per_s")
        for other, minimum, description in (
            ("beam_gemini", 5.0, "Beam's `GeminiModelHandler` in a worker's 12 threads"),
            ("asyncio_genai", 0.95, "asyncio without Beam, storage or publishing"),
        ):
            ratio = rate / median(runs_of(runs, other), "per_s")
            yield Check(
                f"{ours}: prompts/s at 0.5 s, 1.5 MB, 64 in flight, compared with {description}",
                target=f"at least {minimum:g} times",
                measured=f"{ratio:.2f} times",
                met=ratio >= minimum,
            )
        cpu = median(runs_of(runs, ours), "cpu_ms")
        yield Check(
            f"{ours}: CPU per prompt at 1.5 MB",
            target="at most 12 ms",
            measured=f"{cpu:.1f} ms",
            met=cpu <= 12,
        )
    paid = sum(run["paid_twice"] for run in runs if run["contender"] in ("backfill", "stream"))
    yield Check("calls paid twice", target="none", measured=f"{paid}", met=paid == 0)


def _scaling(figures: Figures) -> Iterator[Check]:
    few, many = figures["few"], figures["many"]
    for ours in ("backfill", "stream"):
        small = runs_of(figures["runs"], ours, prompts=few)
        large = runs_of(figures["runs"], ours, prompts=many)
        peak = max(run["peak_mb"] for run in large)
        growth = peak / median(small, "peak_mb") - 1
        yield Check(
            f"{ours}: peak memory, 64 in flight, 1.5 MB, {many:,} prompts",
            target="at most 350 MB",
            measured=f"{peak:.0f} MB",
            met=peak <= 350,
        )
        yield Check(
            f"{ours}: peak memory at {many:,} prompts compared with {few:,}",
            target="the same within 10%",
            measured=f"{growth:+.1%}",
            met=abs(growth) <= 0.1,
        )
        ratio = median(small, "per_s") / median(large, "per_s")
        yield Check(
            f"{ours}: time per prompt at {many:,} prompts compared with {few:,}",
            target="at most 1.05 times",
            measured=f"{ratio:.2f}",
            met=ratio <= 1.05,
        )


def _wide(figures: Figures) -> Iterator[Check]:
    possible = figures["in_flight"] / 0.5
    for run in figures["runs"]:
        share = run["middle_per_s"] / possible
        yield Check(
            f"{run['contender']}: prompts/s at 0.5 s, {figures['in_flight']} in flight, small "
            "images",
            target="at least 0.85 of in-flight ÷ latency, or both cores busy at under 8 ms a "
            "prompt",
            measured=f"{share:.2f} ({run['middle_per_s']:.0f}/s; from the first call to the last "
            f"outcome {run['per_s']:.0f}/s), {run['cpu_ms']:.1f} ms a prompt, "
            f"{run['busy']:.0%} of both cores busy",
            met=share >= 0.85 or (run["cpu_ms"] < 8 and run["busy"] >= BUSY),
        )


def _tail(figures: Figures) -> Iterator[Check]:
    for ours in ("backfill", "stream"):
        without, with_tail = (
            runs_of(figures["runs"], ours, tail_rate=rate)[0] for rate in (0.0, 0.01)
        )
        ratio = with_tail["middle_per_s"] / without["middle_per_s"]
        in_flight = with_tail["middle_in_flight"]
        yield Check(
            f"{ours}: throughput when 1% of the calls take 20 times as long",
            target="at least 0.85 of the throughput without slow calls, or a full window of "
            f"{figures['in_flight']}",
            measured=f"{ratio:.2f}, {in_flight:.1f} in flight",
            met=ratio >= 0.85 or in_flight >= FULL * figures["in_flight"],
        )


def _quota(figures: Figures) -> Iterator[Check]:
    full, half, again = figures["changes"]
    until = figures["until"]
    per_s = figures["per_minute"] / 60
    # Measured from 15 s after the start, when the rate has settled.
    used, refused = shares(figures["rows"], full + 15, half, per_s)
    yield Check(
        f"share used of a quota of {figures['per_minute']:,.0f} calls/min that the job does not "
        "know",
        target="at least 97%",
        measured=f"{used:.1%}",
        met=used >= 0.97,
    )
    yield Check(
        "calls refused meanwhile",
        target="at most 2%",
        measured=f"{refused:.1%}",
        met=refused <= 0.02,
    )
    for change, begin, end, rate in (
        ("halved", half, again, per_s / 2),
        ("restored", again, until, per_s),
    ):
        seconds = settled_after(figures["rows"], begin, end, rate)
        yield Check(
            f"the quota is {change}: time until the rate has settled within 10% of it",
            target="at most 10 s",
            measured=f"{seconds:.1f} s" if seconds is not None else "never",
            met=seconds is not None and seconds <= 10,
        )
    yield Check(
        "prompts that failed because of the quota",
        target="none",
        measured=str(figures["failed"]),
        met=figures["failed"] == 0,
    )


def _shared(figures: Figures) -> Iterator[Check]:
    one, four, three = figures["changes"]
    per_s = figures["per_minute"] / 60
    for which, begin, end in (
        ("one of four workers is busy", one, four),
        ("all four are", four, three),
        ("one of them has died", three, figures["until"]),
    ):
        # Shares have settled after 30 s.
        used, refused = shares(figures["rows"], begin + 30, end, per_s)
        yield Check(
            f"share used of a job's {figures['per_minute']:,.0f} calls/min, 30 s after {which}",
            target="at least 97%, at most 2% refused",
            measured=f"{used:.1%}, {refused:.1%} refused",
            met=used >= 0.97 and refused <= 0.02,
        )


def _learned(figures: Figures) -> Iterator[Check]:
    (begin,) = figures["changes"]
    per_s = figures["per_minute"] / 60
    used, refused = shares(figures["rows"], begin + 30, figures["until"], per_s)
    yield Check(
        f"share used of a quota of {figures['per_minute']:,.0f} calls/min that eight workers learn",
        target="at least 95%, at most 3% refused, all eight busy",
        measured=f"{used:.1%}, {refused:.1%} refused, {figures['busy']:g} busy",
        met=used >= 0.95 and refused <= 0.03 and figures["busy"] == 8,
    )


def _budget(figures: Figures) -> Iterator[Check]:
    missing = figures["budget"] - figures["paid"]
    yield Check(
        f"a budget of {figures['budget']:,} images over 4 workers, {figures['kills']} killed",
        target="exact but for calls without an answer",
        measured=f"{figures['paid']:,} paid, {figures['in_flight']} in flight when workers died",
        met=0 <= missing <= figures["in_flight"] and figures["leased"] <= figures["budget"],
    )


def _latency(figures: Figures) -> Iterator[Check]:
    for name, statistic, maximum in (
        ("median_s", "median", 1.0),
        ("p99_s", "99th percentile", 2.0),
    ):
        yield Check(
            f"stream at 2 prompts/s, 10 s model latency: added time from publish to prediction, "
            f"{statistic}",
            target=f"under {maximum:g} s",
            measured=f"{figures[name]:.2f} s",
            met=figures[name] < maximum,
        )


def _files(figures: Figures) -> Iterator[Check]:
    few, many = figures["few"], figures["many"]
    small, large = (runs_of(figures["runs"], "backfill", prompts=size) for size in (few, many))
    ratio = median(small, "per_s") / median(large, "per_s")
    yield Check(
        f"{many:,} short prompts, a model without latency: time per prompt compared with {few:,}",
        target="at most 1.05 times",
        measured=f"{ratio:.2f} ({median(large, 'per_s'):.0f}/s)",
        met=ratio <= 1.05,
    )
    peak = max(run["peak_mb"] for run in large)
    yield Check(
        f"{many:,} short prompts, a model without latency: peak memory",
        target="at most 350 MB",
        measured=f"{peak:.0f} MB",
        met=peak <= 350,
    )


def shares(
    rows: list[tuple[float, int, int]], begin: float, end: float, per_s: float
) -> tuple[float, float]:
    """Return the used share of a quota between two times, and the share of refused calls.

    Args:
        rows: time in seconds, calls and refused calls since the start.
        begin: the earliest time.
        end: the latest time.
        per_s: the quota in calls a second.
    """
    selected = [row for row in rows if begin <= row[0] <= end]
    (first, calls_before, refused_before), (last, calls, refused) = selected[0], selected[-1]
    new_calls, new_refused = calls - calls_before, refused - refused_before
    return (new_calls - new_refused) / ((last - first) * per_s), new_refused / new_calls


def rates(rows: list[tuple[float, int, int]]) -> list[tuple[float, float, float]]:
    """Return for each window its end, and the accepted and refused calls a second."""
    windows = []
    start = 0
    for end in range(len(rows)):
        if rows[end][0] - rows[start][0] >= WINDOW_S:
            seconds = rows[end][0] - rows[start][0]
            refused = rows[end][2] - rows[start][2]
            accepted = rows[end][1] - rows[start][1] - refused
            windows.append((rows[end][0], accepted / seconds, refused / seconds))
            start = end
    return windows


def settled_after(
    rows: list[tuple[float, int, int]], begin: float, end: float, per_s: float
) -> float | None:
    """Return how long after `begin` the rate settles; None if it never does.

    The rate has settled when this window and the next, and from then on two windows in three, are
    within `SETTLED` of `per_s`.
    """
    windows = [
        (at, abs(accepted / per_s - 1) <= SETTLED)
        for at, accepted, _ in rates(rows)
        if begin + WINDOW_S <= at <= end
    ]
    for index, (at, within) in enumerate(windows):
        rest = [ok for _, ok in windows[index:]]
        if (
            within
            and sum(rest) >= 2 / 3 * len(rest)
            and all(ok for _, ok in windows[index : index + 2])
        ):
            return at - begin
    return None


_CHECKS = {
    "comparison": _comparison,
    "scaling": _scaling,
    "wide": _wide,
    "thousand": thousand,
    "storage_limits": storage_limits,
    "quota": _quota,
    "tail": _tail,
    "shared": _shared,
    "learned": _learned,
    "budget": _budget,
    "latency": _latency,
    "files": _files,
}
