"""Cloud Monitoring: the newest point of a metric."""

from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.google.reading import Reading
from imagen_ops.google.rest import RestHook
from imagen_ops.jobs.job import parse_api_time

# Points arrive up to four minutes late: Dataflow's and Pub/Sub's metrics are sampled every minute
# and become visible up to three minutes later. A point older than this says nothing about now.
_MAX_POINT_AGE = timedelta(minutes=30)


class MonitoringHook(RestHook):
    """The metrics of one project.

    Raises:
        ApiError: by every method, if Cloud Monitoring refuses or does not answer.
    """

    api = "monitoring"
    version = "v3"

    def __init__(self, gcp_conn_id: str, *, project: str) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id)
        self._project = f"projects/{project}"

    def newest(self, metric: str, *, at: datetime, **labels: str) -> Reading | None:
        """Return the newest point of a metric, or None if there is no recent one.

        Args:
            metric: its type, such as `pubsub.googleapis.com/subscription/num_undelivered_messages`.
            at: the current time, with a time zone. Points of the 30 minutes before it count.
            labels: the time series to read: `resource__subscription_id="x"` stands for the filter
                `resource.labels.subscription_id = "x"`. If several series match, the one with the
                highest value counts.
        """
        conditions = [f'metric.type = "{metric}"']
        for name, value in labels.items():
            kind, _, label = name.partition("__")
            conditions.append(f'{kind}.labels.{label} = "{value}"')
        interval = {
            "interval_startTime": _rfc3339(at - _MAX_POINT_AGE),
            "interval_endTime": _rfc3339(at),
        }
        all_series = [
            series
            for page in self.pages(
                f"reading {metric}",
                lambda service, token: (
                    service.projects()
                    .timeSeries()
                    .list(
                        name=self._project,
                        filter=" AND ".join(conditions),
                        pageToken=token,
                        **interval,
                    )
                ),
            )
            for series in page.get("timeSeries", [])
        ]
        readings = [reading for series in all_series if (reading := _newest_reading(series))]
        return max(readings, key=lambda reading: reading.value, default=None)


def _newest_reading(series: dict[str, Any]) -> Reading | None:
    readings = [
        Reading(float(next(iter(point["value"].values()))), at)
        for point in series.get("points", [])
        if (at := parse_api_time(point["interval"].get("endTime")))
    ]
    return max(readings, key=lambda reading: reading.at, default=None)


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
