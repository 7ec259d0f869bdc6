"""The targets and the page of figures, for made-up runs."""

import pytest

from bench import checks as targets
from bench import plots, report
from bench.prompts import text
from bench.report import LOSSES
from bench.scenarios import SCENARIOS


def run(contender: str, **figures) -> dict:
    return {
        "contender": contender,
        "prompts": 100,
        "per_s": 100.0,
        "cpu_ms": 7.0,
        "others_cpu_ms": 2.0,
        "peak_mb": 300.0,
        "refused": 0,
        "paid_twice": 0,
        **figures,
    }


def steady(per_s: float, seconds: float, *, begin: float = 0.0, refused_per_s: float = 0.0) -> list:
    """Rows of the models' counts, five a second."""
    times = [begin + number / 5 for number in range(int(seconds * 5))]
    return [
        (at, round((per_s + refused_per_s) * (at - begin)), round(refused_per_s * (at - begin)))
        for at in times
    ]


def joined(*parts: list) -> list:
    """Phases one after the other: counts go on."""
    rows: list = []
    for part in parts:
        _, calls, refused = rows[-1] if rows else (0, 0, 0)
        rows += [(at, calls + more, refused + no) for at, more, no in part]
    return rows


RESULTS = {
    "machine": {
        "date": "2026-11-25",
        "cores": 2,
        "processor": "a processor",
        "memory_gb": 24,
        "system": "Linux 6",
        "versions": {"Python": "3.11", "apache-beam": "2.77.0"},
    },
    "comparison": {
        "runs": [
            run("one_by_one", per_s=17.0),
            run("beam_gemini", per_s=18.0),
            run("asyncio_genai", per_s=86.0),
            *(run("backfill", per_s=rate) for rate in (99.0, 101.0, 100.0)),
            *(run("stream", per_s=rate) for rate in (80.0, 70.0, 75.0)),
        ]
    },
}


def checks(**results) -> dict[str, targets.Check]:
    return {one.figure: one for one in targets.checks(results)}


def test_a_target_is_met_by_the_median_and_missed_by_the_median():
    found = checks(**RESULTS)
    against = (
        "prompts/s at 0.5 s, 1.5 MB, 64 in flight, compared with Beam's `GeminiModelHandler` in a "
        "worker's 12 threads"
    )
    assert found[f"backfill: {against}"].measured == "5.56 times"
    assert found[f"backfill: {against}"].met
    assert found[f"stream: {against}"].measured == "4.17 times"
    assert not found[f"stream: {against}"].met


def test_the_page_shows_every_check_and_every_contender_with_its_spread():
    page = report.page(RESULTS)
    for one in targets.checks(RESULTS):
        assert (
            f"| {one.figure} | {one.target} | {one.measured} | {'✓' if one.met else '✗'} |" in page
        )
    assert "| ours, backfill | 100 | 100.0 (99.0–101.0) | 7.0 (7.0–7.0) ms |" in page
    assert "2 cores (a processor), 24 GB, Linux 6; Python 3.11, apache-beam 2.77.0" in page
    assert "## Few and many prompts" not in page, "a section without figures"


def wide(**figures) -> dict:
    return {"in_flight": 256, "runs": [run("stream", cpu_ms=4.0, busy=0.8, **figures)]}


def test_the_page_says_what_one_core_could_do_at_most():
    page = report.page({**RESULTS, "wide": wide(per_s=229.0, middle_per_s=240.0)})
    assert "| ours, stream | 229 | 240 | 4.0 ms | 2.0 ms | 80% | 250/s |" in page


@pytest.mark.parametrize(("middle_per_s", "met"), [(436.0, True), (434.0, False)])
def test_a_window_is_judged_by_the_rate_in_the_middle_and_the_total_rate_is_shown(
    middle_per_s, met
):
    (found,) = checks(wide=wide(per_s=400.0, middle_per_s=middle_per_s)).values()
    assert found.met is met
    assert "from the first call to the last outcome 400/s" in found.measured


def tail(with_tail: float, in_flight: float = 60.0) -> dict:
    rates = ((0.0, 100.0), (0.01, with_tail))
    return {
        "in_flight": 64,
        "runs": [
            run(one, tail_rate=rate, middle_per_s=per_s, middle_in_flight=in_flight)
            for one in ("backfill", "stream")
            for rate, per_s in rates
        ],
    }


@pytest.mark.parametrize(
    ("with_tail", "in_flight", "measured", "met"),
    [
        (86.0, 50.0, "0.86, 50.0 in flight", True),
        (83.0, 62.0, "0.83, 62.0 in flight", True),
        (83.0, 60.0, "0.83, 60.0 in flight", False),
    ],
)
def test_slow_calls_may_cost_their_share_of_a_full_window(with_tail, in_flight, measured, met):
    both = checks(tail=tail(with_tail, in_flight)).values()
    assert [(one.measured, one.met) for one in both] == [(measured, met)] * 2


def test_a_section_that_was_measured_on_another_day_says_so():
    earlier = {**RESULTS["machine"], "date": "2026-11-01"}
    page = report.page({**RESULTS, "cold": {"seconds": {"stream": [3.0]}, "machine": earlier}})
    assert "(This section was measured on 2026-11-01: 2 cores" in page
    assert "This section was" not in report.page(
        {**RESULTS, "cold": {"seconds": {"stream": [3.0]}, "machine": RESULTS["machine"]}}
    )


def test_a_call_that_was_paid_twice_is_a_target_missed():
    results = {"comparison": {"runs": [*RESULTS["comparison"]["runs"]]}}
    results["comparison"]["runs"][-1] = run("stream", paid_twice=1)
    assert not checks(**results)["calls paid twice"].met


@pytest.mark.parametrize(("peak", "met"), [(349.0, True), (351.0, False)])
def test_the_largest_peak_decides_not_the_median(peak, met):
    runs = [
        run(contender, prompts=prompts, peak_mb=mb)
        for contender in ("backfill", "stream")
        for prompts, mb in ((1000, 330.0), (20_000, 320.0), (20_000, 320.0), (20_000, peak))
    ]
    found = checks(scaling={"few": 1000, "many": 20_000, "runs": runs})
    assert found["stream: peak memory, 64 in flight, 1.5 MB, 20,000 prompts"].met is met


def quota(rows: list) -> dict[str, targets.Check]:
    found = {
        "per_minute": 1200.0,
        "rows": rows,
        "changes": [0.0, 60.0, 120.0],
        "until": 180.0,
        "failed": 0,
    }
    return {one.figure.partition(":")[0]: one for one in targets._quota(found)}


def test_a_rate_that_follows_the_quota_has_settled_and_uses_it():
    rows = joined(
        steady(20, 60, refused_per_s=0.2),
        steady(19, 4, begin=60),
        steady(10, 56, begin=64),
        steady(12, 6, begin=120),
        steady(20, 54, begin=126),
    )
    found = quota(rows)
    used = found["share used of a quota of 1,200 calls/min that the job does not know"]
    assert used.met
    assert used.measured in ("99.6%", "100.0%")
    assert found["calls refused meanwhile"].measured == "1.0%"
    halved = found["the quota is halved"]
    assert halved.met
    assert 4 <= float(halved.measured.removesuffix(" s")) <= 8
    assert found["the quota is restored"].met


def test_a_rate_that_stays_where_it_was_has_never_settled():
    rows = joined(steady(20, 60), steady(10, 60, begin=60), steady(10, 60, begin=120))
    found = quota(rows)
    assert found["the quota is halved"].met
    assert found["the quota is restored"].measured == "never"
    assert not found["the quota is restored"].met


def test_a_rate_that_only_passes_by_has_not_settled_there():
    parts = [
        steady(per_s, 3, begin=60 + 3 * number)
        for number, per_s in enumerate([20, 10, 10, 4, 16, 4, 16, 4, 16, 4, 16, 10])
    ]
    found = quota(joined(steady(20, 60), *parts))
    assert found["the quota is halved"].measured == "never"
    assert not found["the quota is halved"].met


@pytest.mark.parametrize(
    ("per_s", "refused_per_s", "met"), [(19.6, 0.2, True), (19.0, 0.0, False), (19.9, 0.6, False)]
)
def test_each_change_of_the_busy_workers_is_judged_when_shares_have_settled(
    per_s, refused_per_s, met
):
    unsettled = [steady(5, 30), steady(20, 60)]
    last = [steady(20, 30), steady(per_s, 60, refused_per_s=refused_per_s)]
    rows = []
    for part in [*unsettled, *unsettled, *last]:
        begin, calls, refused = rows[-1] if rows else (0.0, 0, 0)
        rows += [(begin + at, calls + more, refused + no) for at, more, no in part]
    found = {"per_minute": 1200.0, "changes": [0.0, 90.0, 180.0], "until": 270.0, "rows": rows}
    assert [one.met for one in targets._shared(found)] == [True, True, met]


@pytest.mark.parametrize(("refused", "busy", "met"), [(0, 8, True), (2, 8, False), (0, 7, False)])
def test_a_quota_is_learned_by_all_eight_workers_or_the_target_is_missed(refused, busy, met):
    rows = steady(20, 90, refused_per_s=refused)
    found = {"per_minute": 1200.0, "rows": rows, "changes": [0.0], "until": 90.0, "busy": busy}
    (check,) = targets._learned(found)
    assert check.met is met


@pytest.mark.parametrize(
    ("paid", "leased", "met"), [(990, 1000, True), (980, 1000, False), (1001, 1001, False)]
)
def test_a_budget_may_lack_the_calls_that_were_in_flight_and_no_more(paid, leased, met):
    found = {"budget": 1000, "paid": paid, "leased": leased, "kills": 2, "in_flight": 12}
    (check,) = targets._budget(found)
    assert check.met is met


def test_refused_calls_do_not_count_as_use_of_a_quota():
    used, refused = targets.shares(steady(10, 60, refused_per_s=10), 0, 60, 20)
    assert used == pytest.approx(0.5, abs=0.02)
    assert refused == pytest.approx(0.5, abs=0.02)


def test_runs_do_not_share_prompts():
    names = {text(run, number) for run in ("a", "b") for number in range(50)}
    assert len(names) == 100


def files(many_per_s: float = 100.0) -> dict:
    """One of the few was slow: the median is not."""
    runs = [(1_000, 100.0), (10_000, 90.0), (100_000, many_per_s), (10_000, 100.0), (10_000, 100.0)]
    return {
        "few": 10_000,
        "many": 100_000,
        "runs": [run("backfill", prompts=n, per_s=per_s) for n, per_s in runs],
    }


def whole(**others) -> dict:
    """Figures of every scenario, as `make bench` leaves them."""
    return {
        **RESULTS,
        "beams_own": {"runs": [each for name in LOSSES for each in (run(name), run("backfill"))]},
        "scaling": {
            "few": 1000,
            "many": 20_000,
            "runs": [run(one, prompts=n) for one in ("backfill", "stream") for n in (1000, 20_000)],
        },
        "wide": wide(per_s=400.0, middle_per_s=450.0),
        "thousand": {
            "runs": [
                run(
                    "backfill",
                    build="this",
                    in_flight=1024,
                    latency_s=10.0,
                    middle_per_s=100.0,
                    most_sockets=1100,
                )
            ]
        },
        "storage_limits": {
            "per_s": 50.0,
            "hang_s": 60.0,
            "runs": [
                run("backfill", storage=name, seconds=20.0, storage_calls=1000, storage_s=20.0)
                for name in ("as usual", "1,000 connections", "50 requests/s", "hangs for 60 s")
            ],
        },
        "tail": tail(90.0),
        "quota": {
            "per_minute": 1200.0,
            "rows": joined(steady(20, 60), steady(10, 60, begin=60), steady(20, 60, begin=120)),
            "changes": [0.0, 60.0, 120.0],
            "until": 180.0,
            "failed": 0,
        },
        "shared": {
            "per_minute": 1200.0,
            "rows": steady(20, 180),
            "changes": [0.0, 60.0, 120.0],
            "until": 180.0,
        },
        "learned": {
            "per_minute": 1200.0,
            "rows": steady(20, 90),
            "changes": [0.0],
            "until": 90.0,
            "busy": 8.0,
        },
        "budget": {"budget": 1000, "paid": 1000, "leased": 1000, "kills": 2, "in_flight": 12},
        "latency": {"prompts": 3, "median_s": 0.1, "p99_s": 0.3, "added_s": [0.1, 0.1, 0.3]},
        "files": files(),
        "cold": {"seconds": {"backfill": [3.0, 4.0, 5.0], "stream": [2.0]}},
        "parsing": {"seconds": [0.05, 0.06, 0.07]},
        **others,
    }


@pytest.mark.slow
def test_every_scenario_has_a_section_and_those_with_a_target_a_row(tmp_path):
    page = report.page(whole())
    assert set(whole()) == {*SCENARIOS, "machine"}
    # Starting and parsing share one. A quota that several workers learn has a row only.
    assert page.count("\n## ") == len(SCENARIOS) - 2
    assert page.count("| ✓ |") + page.count("| ✗ |") == len([*targets.checks(whole())])
    plots.draw(whole(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "bench-comparison.png",
        "bench-quota.png",
        "bench-shared.png",
        "bench-latency.png",
    }


@pytest.mark.parametrize(
    ("figure", "others"),
    [
        (
            "stream: throughput when 1% of the calls take 20 times as long",
            {"tail": tail(70.0)},
        ),
        (
            "stream at 2 prompts/s, 10 s model latency: added time from publish to prediction, "
            "99th percentile",
            {"latency": {"prompts": 1, "median_s": 0.1, "p99_s": 2.1, "added_s": [2.1]}},
        ),
        (
            "100,000 short prompts, a model without latency: time per prompt compared with 10,000",
            {"files": files(90.0)},
        ),
    ],
)
def test_a_missed_target_is_reported_as_missed(figure, others):
    assert checks(**whole())[figure].met
    assert not checks(**whole(**others))[figure].met
