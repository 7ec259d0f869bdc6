"""The HTTP interface of the stand-in for Cloud Monitoring: `projects.timeSeries.list`."""

from typing import Any

from aiohttp import web

from localcloud import rest
from localcloud.monitoring.alignment import Alignment
from localcloud.monitoring.catalog import METRICS, Series
from localcloud.monitoring.filters import compile_filter
from localcloud.monitoring.sampler import Sampler
from localcloud.rest import ApiError
from localcloud.tunable_settings import add_settings_routes

_VIEWS = ("FULL", "HEADERS")
_MAX_RESULTS = 100_000


def monitoring_app(sampler: Sampler, *, seed: int | None = None) -> web.Application:
    """Return an app that serves version v3 of Cloud Monitoring's API.

    Beyond Google's route, `GET /localcloud` returns counts and settings, and a PATCH of it with a
    JSON object changes settings. `seed` makes injected faults repeatable.
    """
    faults = rest.Faults(sampler.settings, seed=seed)
    app = web.Application(middlewares=[rest.errors])

    async def list_series(request: web.Request) -> web.Response:
        return web.json_response(_list(sampler, request))

    app.router.add_get(
        "/v3/projects/{project}/timeSeries", faults.wrap("timeSeries.list", list_series)
    )
    add_settings_routes(app, sampler.settings, lambda: faults.counts)
    return app


def _list(sampler: Sampler, request: web.Request) -> dict[str, Any]:
    query = request.query
    if not query.get("filter"):
        raise ApiError(400, "Field filter had an invalid value: must be specified.")
    metric, matches = compile_filter(query["filter"])
    start, end = _interval(query.get("interval.startTime"), query.get("interval.endTime"))
    alignment = Alignment.from_query(query)
    full = rest.parse_enum("view", query.get("view"), _VIEWS) == "FULL"
    project = request.match_info["project"]
    matching = [
        (series, alignment.align(points, end))
        for series, points in sampler.points(start, end).items()
        if matches(series) and series.resource_labels[0] == project
    ]
    matching.sort(key=lambda each: (each[0].resource_labels, each[0].metric_labels))
    # The page size counts points, or series if the view has no points.
    flat = [
        (index, point)
        for index, (_, points) in enumerate(matching)
        for point in (points if full else points[:1])
    ]
    page, token = rest.paginate(flat, query, largest=_MAX_RESULTS)
    shown = []
    for index in sorted({index for index, _ in page}):
        points = [_point(p, alignment) for i, p in page if i == index] if full else []
        resource = _resource(matching[index][0], alignment)
        shown.append(resource | ({"points": points} if full else {}))
    answer: dict[str, Any] = {"timeSeries": shown, "unit": METRICS[metric].unit} if shown else {}
    return answer | ({"nextPageToken": token} if token else {})


def _interval(start: str | None, end: str | None) -> tuple[float, float]:
    if not start or not end:
        raise ApiError(
            400,
            "Field interval had an invalid value: expected interval.startTime and "
            f"interval.endTime, got {start!r} and {end!r}.",
        )
    interval = (
        rest.parse_time("interval.start_time", start),
        rest.parse_time("interval.end_time", end),
    )
    if interval[0] >= interval[1]:
        raise ApiError(
            400,
            f"Field interval.endTime had an invalid value of {end!r}: must be later than the "
            f"startTime, {start!r}.",
        )
    return interval


def _resource(series: Series, alignment: Alignment) -> dict[str, Any]:
    descriptor = METRICS[series.metric]
    return {
        "metric": {
            "type": series.metric,
            "labels": dict(zip(descriptor.metric_labels, series.metric_labels, strict=True)),
        },
        "resource": {
            "type": descriptor.resource_type,
            "labels": dict(zip(descriptor.resource_labels, series.resource_labels, strict=True)),
        },
        "metricKind": "GAUGE",
        "valueType": alignment.value_type,
    }


def _point(point: tuple[float, float], alignment: Alignment) -> dict[str, Any]:
    when, value = point
    at = rest.rfc3339(when)
    typed: dict[str, Any] = (
        {"doubleValue": float(value)}
        if alignment.value_type == "DOUBLE"
        else {"int64Value": str(int(value))}
    )
    return {"interval": {"startTime": at, "endTime": at}, "value": typed}
