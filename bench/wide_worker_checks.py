"""The targets of the scenarios of `wide_worker`."""

from collections.abc import Iterator

from bench.check import Check, Figures, median, runs_of


def thousand(figures: Figures) -> Iterator[Check]:
    """Yield the targets for a thousand calls in flight."""
    runs = figures["runs"]
    (wide,) = runs_of(runs, "backfill", build="this", in_flight=1024)
    possible = wide["in_flight"] / wide["latency_s"]
    what = "1,024 in flight, 10 s, 1.5 MB"
    for part, share, minimum in (
        ("from the first call to the last outcome", wide["per_s"] / possible, 0.85),
        ("in the middle", wide["middle_per_s"] / possible, 0.97),
    ):
        yield Check(
            f"{what}: prompts/s {part}, of in-flight ÷ latency",
            target=f"at least {minimum:g}",
            measured=f"{share:.2f}",
            met=share >= minimum,
        )
    yield Check(
        f"{what}: peak memory",
        target="at most 400 MB",
        measured=f"{wide['peak_mb']:.0f} MB",
        met=wide["peak_mb"] <= 400,
    )
    sockets = wide["most_sockets"] / wide["in_flight"]
    yield Check(
        f"{what}: open sockets per call in flight",
        target="at most 1.1",
        measured=f"{sockets:.2f}",
        met=sockets <= 1.1,
    )
    if not runs_of(runs, "backfill", build="other"):
        return
    (other_wide,) = runs_of(runs, "backfill", build="other", in_flight=1024)
    usual, other = (
        runs_of(runs, "backfill", build=build, in_flight=64) for build in ("this", "other")
    )
    for figure, ratio, target, met in (
        (
            f"{what}: peak memory",
            wide["peak_mb"] / other_wide["peak_mb"],
            "at most 0.45",
            wide["peak_mb"] <= 0.45 * other_wide["peak_mb"],
        ),
        (
            f"{what}: CPU per prompt, with 64 in flight there",
            cpu := wide["cpu_ms"] / median(other, "cpu_ms"),
            "at most 1.1",
            cpu <= 1.1,
        ),
        (
            "64 in flight: prompts/s",
            rate := median(usual, "per_s") / median(other, "per_s"),
            "at least 0.98",
            rate >= 0.98,
        ),
        (
            "64 in flight: CPU per prompt",
            cpu := median(usual, "cpu_ms") / median(other, "cpu_ms"),
            "at most 1.02",
            cpu <= 1.02,
        ),
    ):
        yield Check(
            f"{figure}, compared with the build before",
            target=f"{target} times",
            measured=f"{ratio:.2f} times",
            met=met,
        )


def storage_limits(figures: Figures) -> Iterator[Check]:
    """Yield the targets for storage that is less than it usually is."""
    by_storage = {run["storage"]: run for run in figures["runs"]}
    usual, connections = by_storage["as usual"], by_storage["1,000 connections"]
    ratio = connections["per_s"] / usual["per_s"]
    yield Check(
        "1,024 in flight, a storage that serves 1,000 connections: prompts/s compared with one "
        "that serves all",
        target="at least 0.95 times",
        measured=f"{ratio:.2f} times",
        met=ratio >= 0.95,
    )
    slow = by_storage["50 requests/s"]
    share = slow["storage_calls"] / slow["storage_s"] / figures["per_s"]
    yield Check(
        f"1,024 in flight, a storage that serves {figures['per_s']:.0f} requests/s: share of them "
        "that is used",
        target="at least 0.9",
        measured=f"{share:.2f}",
        met=share >= 0.9,
    )
    hung = by_storage["hangs for 60 s"]
    late_s = hung["seconds"] - usual["seconds"]
    yield Check(
        f"1,024 in flight, a storage that hangs for {figures['hang_s']:.0f} s: time beyond that "
        "until all prompts have their images",
        target="at most 30 s",
        measured=f"{late_s - figures['hang_s']:.0f} s",
        met=late_s <= figures["hang_s"] + 30,
    )
    paid = sum(run["paid_twice"] for run in figures["runs"])
    yield Check("calls paid twice in these runs", target="none", measured=f"{paid}", met=paid == 0)
