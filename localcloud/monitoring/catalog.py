"""The metrics of this stand-in, and their current values from jobs and subscriptions.

https://cloud.google.com/monitoring/api/metrics_gcp_d_h and …/metrics_gcp_p_z
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from localcloud.dataflow.jobs import Job
from localcloud.dataflow.states import JobState
from localcloud.pubsub.message import SubscriptionStats

SYSTEM_LAG = "dataflow.googleapis.com/job/system_lag"
WATERMARK_AGE = "dataflow.googleapis.com/job/data_watermark_age"
IS_FAILED = "dataflow.googleapis.com/job/is_failed"
OLDEST_UNACKED = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"

# `is_failed` is reported for a while after a job's end. Otherwise a job that fails between two
# samples would not be reported at all.
_REPORTED_AFTER_END_S = 300.0


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """A metric: its unit, and the labels of its series. All metrics are INT64 gauges."""

    unit: str
    resource_type: str
    resource_labels: tuple[str, ...]
    metric_labels: tuple[str, ...] = ()


_JOB = ("dataflow_job", ("project_id", "region", "job_name"), ("job_id",))
_SUBSCRIPTION = ("pubsub_subscription", ("project_id", "subscription_id"))
METRICS = {
    SYSTEM_LAG: Descriptor("s", *_JOB),
    WATERMARK_AGE: Descriptor("s", *_JOB),
    IS_FAILED: Descriptor("1", *_JOB),
    OLDEST_UNACKED: Descriptor("s", *_SUBSCRIPTION),
    UNDELIVERED: Descriptor("1", *_SUBSCRIPTION),
}


@dataclasses.dataclass(frozen=True)
class Series:
    """One time series. Its labels are in the order of the metric's descriptor."""

    metric: str
    resource_labels: tuple[str, ...]
    metric_labels: tuple[str, ...] = ()

    def labels(self) -> Mapping[str, str]:
        """Return all labels and types that a filter can select by, under the filter's names."""
        descriptor = METRICS[self.metric]
        resource = zip(descriptor.resource_labels, self.resource_labels, strict=True)
        metric = zip(descriptor.metric_labels, self.metric_labels, strict=True)
        return {
            "metric.type": self.metric,
            "resource.type": descriptor.resource_type,
            **{f"resource.labels.{name}": value for name, value in resource},
            **{f"metric.labels.{name}": value for name, value in metric},
        }


Stats = Callable[[str], SubscriptionStats]


def readings(
    jobs: Iterable[Job], subscriptions: Iterable[str], stats: Stats
) -> Iterator[tuple[Series, int]]:
    """Yield the current value of every series.

    Args:
        jobs: all jobs.
        subscriptions: the full names of all subscriptions.
        stats: returns the backlog statistics of a subscription.
    """
    now = time.time()
    backlogs = {name: stats(name) for name in subscriptions}
    for job in jobs:
        labels = (job.project, job.location, job.name), (job.id,)
        if job.active or now - job.state_at < _REPORTED_AFTER_END_S:
            yield Series(IS_FAILED, *labels), int(job.state is JobState.FAILED)
        backlog = backlogs.get(job.subscription or "")
        if backlog is not None and job.state in (JobState.RUNNING, JobState.DRAINING):
            age_s = int(backlog.oldest_unacked_age_s)
            # The oldest messages were leased first and are in progress. Messages that nobody has
            # leased are behind the watermark, but not in the system yet.
            yield Series(SYSTEM_LAG, *labels), age_s if backlog.outstanding else 0
            yield Series(WATERMARK_AGE, *labels), age_s
    for name, backlog in backlogs.items():
        _, project, _, subscription = name.split("/")
        yield Series(OLDEST_UNACKED, (project, subscription)), int(backlog.oldest_unacked_age_s)
        yield Series(UNDELIVERED, (project, subscription)), backlog.num_undelivered
