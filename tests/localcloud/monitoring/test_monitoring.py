"""Time series through Google's client, and what the five metrics say of jobs and subscriptions."""

import itertools
import json

import pytest
from googleapiclient.errors import HttpError

from localcloud.dataflow.jobs import Job
from localcloud.dataflow.states import JobState, JobType
from localcloud.pubsub.message import SubscriptionStats

from .conftest import rfc3339

PROMPTS = "projects/demo-project/subscriptions/prompts-sub"
UNDELIVERED = 'metric.type = "pubsub.googleapis.com/subscription/num_undelivered_messages"'
LAG = 'metric.type = "dataflow.googleapis.com/job/system_lag"'
AGE = 'metric.type = "dataflow.googleapis.com/job/data_watermark_age"'
FAILED = 'metric.type = "dataflow.googleapis.com/job/is_failed"'


def a_job(name="imagen-stream", state=JobState.RUNNING, *, at=0.0, **others) -> Job:
    return Job(
        id=f"id-of-{name}",
        name=name,
        project="demo-project",
        location="us-central1",
        type=JobType.STREAMING,
        module="m",
        arguments=(),
        state=state,
        state_at=at,
        subscription=PROMPTS,
        **others,
    )


def values(answer) -> list[list[float]]:
    return [
        [float(next(iter(point["value"].values()))) for point in series["points"]]
        for series in answer.get("timeSeries", [])
    ]


def refusal(call, *args, **kwargs) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        call(*args, **kwargs)
    error = json.loads(caught.value.content)["error"]
    return error["code"], error["message"]


def test_a_backlog_is_reported_with_googles_labels(monitoring):
    monitoring.subscriptions[PROMPTS] = SubscriptionStats(7, 12.9, 3)
    (series,) = monitoring.list(UNDELIVERED)["timeSeries"]
    assert series["metric"]["type"] == "pubsub.googleapis.com/subscription/num_undelivered_messages"
    assert series["resource"] == {
        "type": "pubsub_subscription",
        "labels": {"project_id": "demo-project", "subscription_id": "prompts-sub"},
    }
    assert (series["metricKind"], series["valueType"]) == ("GAUGE", "INT64")
    assert series["points"][0]["value"] == {"int64Value": "7"}
    oldest = UNDELIVERED.replace("num_undelivered_messages", "oldest_unacked_message_age")
    assert values(monitoring.list(oldest)) == [[12]]
    assert monitoring.list(oldest)["unit"] == "s"


def test_lag_covers_messages_in_progress_and_age_the_whole_backlog(monitoring):
    monitoring.jobs.append(a_job())
    monitoring.subscriptions[PROMPTS] = SubscriptionStats(5, 40.0, 2)
    assert values(monitoring.list(LAG)) == values(monitoring.list(AGE)) == [[40]]
    monitoring.subscriptions[PROMPTS] = SubscriptionStats(5, 40.0, 0)
    assert values(monitoring.list(LAG)) == [[0]]
    assert values(monitoring.list(AGE)) == [[40]]
    (series,) = monitoring.list(AGE)["timeSeries"]
    assert series["metric"]["labels"] == {"job_id": "id-of-imagen-stream"}
    assert series["resource"]["labels"]["job_name"] == "imagen-stream"


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.DRAINED, JobState.FAILED])
def test_a_job_that_does_not_work_has_no_lag(monitoring, state):
    monitoring.jobs.append(a_job(state=state, at=monitoring.now))
    monitoring.subscriptions[PROMPTS] = SubscriptionStats(5, 40.0, 2)
    assert monitoring.list(LAG) == {}


def test_a_failed_job_is_reported_as_failed_for_some_time(monitoring):
    monitoring.jobs += [
        a_job("a"),
        a_job("b", JobState.FAILED, at=monitoring.now - 10),
        a_job("c", JobState.FAILED, at=monitoring.now - 3000),
    ]
    assert values(monitoring.list(FAILED)) == [[0], [1]]


def test_a_filter_selects_by_resource_and_by_labels(monitoring):
    monitoring.jobs += [a_job("a"), a_job("b")]
    for terms, expected in {
        ' AND resource.type = "dataflow_job"': ["a", "b"],
        ' AND resource.labels.job_name = "b"': ["b"],
        ' resource.label.job_name="b"': ["b"],
        " AND metric.labels.job_id = 'id-of-a' AND resource.labels.region = \"us-central1\"": ["a"],
        ' AND resource.labels.job_name != "b"': ["a"],
        ' AND resource.labels.job_name = "a\\"b"': [],
    }.items():
        found = monitoring.list(FAILED + terms).get("timeSeries", [])
        assert [series["resource"]["labels"]["job_name"] for series in found] == expected
    assert monitoring.list(FAILED, name="projects/other-project") == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('resource.type = "dataflow_job"', 400),
        (f'{FAILED} OR resource.type = "dataflow_job"', 400),
        (f'{FAILED} AND resource.labels.job_name = starts_with("a")', 400),
        (f"{FAILED} AND resource.labels.job_name = unquoted", 400),
        (f"{FAILED} AND ", 400),
        (f'{FAILED} AND resource.labels.colour = "red"', 400),
        (f'{FAILED} AND resource.type = "pubsub_subscription"', 400),
        ('metric.type = "dataflow.googleapis.com/job/unheard_of"', 404),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(monitoring, text, code):
    assert refusal(monitoring.list, text)[0] == code


def test_an_interval_that_is_missing_inverted_or_invalid_is_refused(monitoring):
    earlier = rfc3339(monitoring.now - 7200)
    for wrong in (
        {"interval_startTime": None},
        {"interval_endTime": None},
        {"interval_endTime": earlier},
        {"interval_endTime": "yesterday"},
    ):
        assert refusal(monitoring.list, FAILED, **wrong)[0] == 400


def sample(monitoring, *ages_and_counts) -> None:
    """Samples of a backlog, so many seconds before the end of the interval; then none of now."""
    for ago, count in ages_and_counts:
        monitoring.subscriptions[PROMPTS] = SubscriptionStats(count, 0.0, 0)
        monitoring.sampler.sample(monitoring.now - ago)
    monitoring.subscriptions.clear()


def test_points_come_newest_first_and_the_start_of_the_interval_is_not_in_it(monitoring):
    monitoring.now = float(int(monitoring.now))
    sample(monitoring, (3600, 9), (120, 1), (60, 2), (0, 3))
    answer = monitoring.list(UNDELIVERED)
    assert values(answer) == [[3, 2, 1]]
    ends = [point["interval"]["endTime"] for point in answer["timeSeries"][0]["points"]]
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize(
    ("aligner", "expected", "kind"),
    [
        ("ALIGN_MAX", [8, 5], "INT64"),
        ("ALIGN_MIN", [2, 5], "INT64"),
        ("ALIGN_MEAN", [5, 5], "DOUBLE"),
        ("ALIGN_NEXT_OLDER", [5, 5], "INT64"),
        ("ALIGN_COUNT", [3, 1], "INT64"),
    ],
)
def test_alignment_gives_one_point_a_period_counted_back_from_the_end(
    monitoring, aligner, expected, kind
):
    sample(monitoring, (150, 5), (50, 8), (30, 2), (10, 5))
    answer = monitoring.list(
        UNDELIVERED, aggregation_perSeriesAligner=aligner, aggregation_alignmentPeriod="60s"
    )
    assert values(answer) == [expected]
    assert answer["timeSeries"][0]["valueType"] == kind


@pytest.mark.parametrize(
    "aggregation",
    [
        {"perSeriesAligner": "ALIGN_MAX"},
        {"perSeriesAligner": "ALIGN_MAX", "alignmentPeriod": "30s"},
        {"perSeriesAligner": "ALIGN_RATE", "alignmentPeriod": "60s"},
        {"crossSeriesReducer": "REDUCE_SUM"},
    ],
)
def test_an_aggregation_that_is_invalid_or_unsupported_is_refused(monitoring, aggregation):
    given = {f"aggregation_{name}": value for name, value in aggregation.items()}
    assert refusal(monitoring.list, UNDELIVERED, **given)[0] == 400


def test_pages_count_points_and_headers_have_none(monitoring):
    monitoring.jobs += [a_job("a"), a_job("b")]
    for ago in (30, 20, 10):
        monitoring.sampler.sample(monitoring.now - ago)
    monitoring.jobs.clear()
    series = monitoring.client.projects().timeSeries()
    request = series.list(
        name="projects/demo-project",
        filter=FAILED,
        interval_startTime=rfc3339(monitoring.now - 60),
        interval_endTime=rfc3339(monitoring.now),
        pageSize=4,
    )
    pages = []
    while request is not None:
        pages.append(request.execute())
        request = series.list_next(request, pages[-1])
    assert [[len(points) for points in values(page)] for page in pages] == [[3, 1], [2]]
    headers = monitoring.list(FAILED, view="HEADERS")
    assert len(headers["timeSeries"]) == 2
    assert "points" not in headers["timeSeries"][0]


def test_a_day_of_samples_is_kept_in_little_memory_with_a_point_a_minute(monitoring):
    start = monitoring.now - 30 * 3600
    for n in range(0, 30 * 3600, 5):
        monitoring.subscriptions[PROMPTS] = SubscriptionStats(n, 0.0, 0)
        monitoring.sampler.sample(start + n)
    (points,) = [
        points
        for series, points in monitoring.sampler.points(0, monitoring.now - 60).items()
        if series.metric.endswith("num_undelivered_messages")
    ]
    assert 1440 <= len(points) <= 1700
    assert monitoring.now - points[0][0] > 23.9 * 3600
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(points)]
    assert max(gaps) <= 61
