"""Which metrics there are, and what they are now: the only place that knows jobs and topics.

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

# A job that is over goes on being reported as failed, or not, for a while: one that fails between
# two samples would not be reported at all.
_REPORTED_AFTER_END_S = 300.0


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """A metric: its unit, and the labels that its series have. All are INT64 gauges."""

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
    """One time series: a metric of one thing. Labels in the order of the metric's descriptor."""

    metric: str
    resource_labels: tuple[str, ...]
    metric_labels: tuple[str, ...] = ()

    def labels(self) -> Mapping[str, str]:
        """Return all that a filter may ask for, by the filter's names."""
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
    """Yield what each metric is now.

    Args:
        jobs: all jobs.
        subscriptions: all subscriptions, by their full names.
        stats: how far behind a subscription is; LookupError if there is none.
    """
    now = time.time()
    behind = {name: stats(name) for name in subscriptions}
    for job in jobs:
        labels = (job.project, job.location, job.name), (job.id,)
        if job.active or now - job.state_at < _REPORTED_AFTER_END_S:
            yield Series(IS_FAILED, *labels), int(job.state is JobState.FAILED)
        found = behind.get(job.subscription or "")
        if found is not None and job.state in (JobState.RUNNING, JobState.DRAINING):
            age_s = int(found.oldest_unacked_age_s)
            # What has been waiting longest is what was taken first, and is worked on. Messages
            # that nobody has taken are behind the watermark, but not in the system.
            yield Series(SYSTEM_LAG, *labels), age_s if found.outstanding else 0
            yield Series(WATERMARK_AGE, *labels), age_s
    for name, each in behind.items():
        _, project, _, subscription = name.split("/")
        yield Series(OLDEST_UNACKED, (project, subscription)), int(each.oldest_unacked_age_s)
        yield Series(UNDELIVERED, (project, subscription)), each.num_undelivered
