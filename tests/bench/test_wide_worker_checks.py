"""The targets of a wide worker, for made-up figures."""

import pytest

from bench import wide_worker_checks as targets


def wide(build: str = "this", **figures) -> dict:
    return {
        "contender": "backfill",
        "build": build,
        "in_flight": 1024,
        "latency_s": 10.0,
        "per_s": 90.0,
        "middle_per_s": 101.0,
        "cpu_ms": 4.0,
        "peak_mb": 390.0,
        "most_sockets": 1100,
        **figures,
    }


def usual(build: str, **figures) -> dict:
    return wide(build, in_flight=64, latency_s=0.5, per_s=120.0, **figures)


BEFORE = [wide("other", peak_mb=900.0), usual("other"), usual("other")]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, set()),
        ({"per_s": 80.0}, {"from the first call to the last outcome"}),
        ({"middle_per_s": 99.0}, {"in the middle"}),
        ({"peak_mb": 410.0}, {"peak memory", "peak memory, compared"}),
        ({"most_sockets": 1200}, {"open sockets"}),
        ({"cpu_ms": 4.5}, {"with 64 in flight there"}),
    ],
)
def test_each_target_of_a_thousand_calls_is_missed_by_its_own_figure(changes, missed):
    checks = list(targets.thousand({"runs": [wide(**changes), usual("this"), *BEFORE]}))
    assert len(checks) == 8
    failed = [check.figure for check in checks if not check.met]
    assert len(failed) == len(missed), failed
    assert all(any(part in figure for figure in failed) for part in missed), failed


@pytest.mark.parametrize(
    ("changes", "misses"), [({}, 0), ({"per_s": 117.0}, 1), ({"cpu_ms": 4.1}, 1)]
)
def test_the_usual_width_is_compared_with_the_build_before(changes, misses):
    runs = [wide(cpu_ms=4.0), usual("this") | changes, *BEFORE]
    assert sum(not check.met for check in targets.thousand({"runs": runs})) == misses
    assert len(list(targets.thousand({"runs": runs[:2]}))) == 4


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("1,000 connections", {"per_s": 50.0}),
        ("50 requests/s", {"storage_s": 35.0}),
        ("hangs for 60 s", {"seconds": 130.0}),
        ("hangs for 60 s", {"paid_twice": 1}),
    ],
    ids=str,
)
def test_each_target_of_a_weak_storage_is_missed_by_its_own_run(name, changes):
    def runs(**by_name) -> dict:
        run = {"per_s": 80.0, "seconds": 25.0, "paid_twice": 0}
        run |= {"storage_calls": 1200, "storage_s": 25.0}
        names = ("as usual", "1,000 connections", "50 requests/s", "hangs for 60 s")
        rows = [{"storage": each, **run, **by_name.get(each, {})} for each in names]
        return {"per_s": 50.0, "hang_s": 60.0, "runs": rows}

    assert all(check.met for check in targets.storage_limits(runs()))
    missed = [check for check in targets.storage_limits(runs(**{name: changes})) if not check.met]
    assert len(missed) == 1
