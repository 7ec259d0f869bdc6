"""Cloud Monitoring's metrics: the newest points."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from verification.visit import Visit

_LOOK_BACK = timedelta(minutes=20)


def newest_points(
    visit: Visit, metric: str, labels: Mapping[str, str], account: str | None = None
) -> list[tuple[datetime, float]]:
    """Return the newest point of each series of a metric in the last 20 minutes.

    Args:
        visit: whose project is asked.
        metric: its type.
        labels: which a series must have, by names as in a filter.
        account: who asks; None: whoever runs this.
    """
    now = datetime.now(UTC)
    conditions = [f'metric.type = "{metric}"']
    conditions += [f'{name} = "{value}"' for name, value in labels.items()]
    answer = visit.access.call(
        "monitoring",
        "GET",
        f"/v3/projects/{visit.deployment.project}/timeSeries",
        account=account,
        params={
            "filter": " AND ".join(conditions),
            "interval.startTime": (now - _LOOK_BACK).isoformat(),
            "interval.endTime": now.isoformat(),
        },
    )
    points = []
    for series in answer.get("timeSeries", []):
        found = [
            (
                datetime.fromisoformat(point["interval"]["endTime"]),
                float(next(iter(point["value"].values()))),
            )
            for point in series.get("points", [])
        ]
        if found:
            points.append(max(found))
    return points
