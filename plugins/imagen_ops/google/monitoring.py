"""Cloud Monitoring: the newest point of a metric."""

from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.google.reading import Reading
from imagen_ops.google.rest import RestHook
from imagen_ops.jobs.job import api_time

# Points come up to four minutes late (Dataflow's and Pub/Sub's metrics are sampled every minute
# and visible after up to three more); further back than this, none says anything about now.
_LOOK_BACK = timedelta(minutes=30)


class MonitoringHook(RestHook):
    """The metrics of one project. Every method raises `ApiError`."""

    api = "monitoring"
    version = "v3"

    def __init__(self, gcp_conn_id: str, *, project: str) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id)
        self._project = f"projects/{project}"

    def newest(self, metric: str, *, at: datetime, **labels: str) -> Reading | None:
        """Return the newest point of a metric, or None if there is none.

        Args:
            metric: its type, such as `pubsub.googleapis.com/subscription/num_undelivered_messages`.
            at: now.
            labels: which series: `resource__subscription_id="x"` stands for the filter's
                `resource.labels.subscription_id = "x"`. Of several series the highest value counts.
        """
        wanted = [f'metric.type = "{metric}"']
        for name, value in labels.items():
            kind, _, label = name.partition("__")
            wanted.append(f'{kind}.labels.{label} = "{value}"')
        interval = {
            "interval_startTime": _text(at - _LOOK_BACK),
            "interval_endTime": _text(at),
        }
        series = [
            one
            for page in self.pages(
                f"reading {metric}",
                lambda service, token: (
                    service.projects()
                    .timeSeries()
                    .list(
                        name=self._project,
                        filter=" AND ".join(wanted),
                        pageToken=token,
                        **interval,
                    )
                ),
            )
            for one in page.get("timeSeries", [])
        ]
        newest = [reading for one in series if (reading := _newest_of(one))]
        return max(newest, key=lambda reading: reading.value, default=None)


def _newest_of(series: dict[str, Any]) -> Reading | None:
    readings = [
        Reading(float(next(iter(point["value"].values()))), at)
        for point in series.get("points", [])
        if (at := api_time(point["interval"].get("endTime")))
    ]
    return max(readings, key=lambda reading: reading.at, default=None)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
