"""Monitoring filters: the part of the language that selects series by exact label values.

https://cloud.google.com/monitoring/api/v3/filters
"""

import re
from collections.abc import Callable, Mapping

from localcloud.monitoring.catalog import METRICS, Series
from localcloud.rest import ApiError

_TERM = re.compile(
    r"""\s*(?P<selector>metric\.type|resource\.type|project
        |(?:metric|resource)\.labels?\.(?:\w+|"\w+"))
        \s*(?P<operator>!?=)\s*
        (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')\s*""",
    re.VERBOSE,
)
_AND = re.compile(r"AND\b\s*")
_NO_COMBINATION = (
    "The supplied filter does not specify a valid combination of metric and monitored resource "
    "descriptors. The query will not return any time series."
)

Predicate = Callable[[Series], bool]


def compile_filter(text: str) -> tuple[str, Predicate]:
    """Return the metric that a filter names, and a predicate for the series that match.

    Raises:
        ApiError: 400, the filter cannot be parsed or fits no metric; 404, the metric is unknown.
    """
    terms = _terms(text)
    metrics = [value for name, equal, value in terms if name == "metric.type" and equal]
    if len(metrics) != 1:
        raise ApiError(
            400,
            f"Field filter had an invalid value of {text!r}: must specify exactly one "
            'restriction on "metric.type".',
        )
    descriptor = METRICS.get(metrics[0])
    if descriptor is None:
        raise ApiError(
            404,
            f'Cannot find metric(s) that match type = "{metrics[0]}". If a metric was created '
            "recently, it could take up to 10 minutes to become available. Please try again soon.",
        )
    known = {
        "metric.type",
        "resource.type",
        *(f"resource.labels.{name}" for name in descriptor.resource_labels),
        *(f"metric.labels.{name}" for name in descriptor.metric_labels),
    }
    for name, equal, value in terms:
        if name not in known or (
            name == "resource.type" and equal and value != descriptor.resource_type
        ):
            raise ApiError(400, _NO_COMBINATION)

    def matches(series: Series) -> bool:
        labels: Mapping[str, str] = series.labels()
        return all((labels[name] == value) is equal for name, equal, value in terms)

    return metrics[0], matches


def _terms(text: str) -> list[tuple[str, bool, str]]:
    terms: list[tuple[str, bool, str]] = []
    at = 0
    while at < len(text) or not terms:
        match = _TERM.match(text, at)
        if match is None:
            raise ApiError(
                400,
                f"Field filter had an invalid value of {text!r}: could not be parsed at "
                f"{text[at : at + 40]!r}. Understood here are terms like resource.labels.job_name "
                '= "x", joined by AND.',
            )
        name = match["selector"].replace(".label.", ".labels.").replace('"', "")
        if name == "project":
            name = "resource.labels.project_id"
        raw = match["double"] if match["double"] is not None else match["single"]
        terms.append((name, match["operator"] == "=", re.sub(r"\\(.)", r"\1", raw)))
        at = match.end()
        joined = _AND.match(text, at)
        if joined:
            at = joined.end()
            if at == len(text):
                raise ApiError(400, f"Field filter had an invalid value of {text!r}: ends in AND.")
    return terms
