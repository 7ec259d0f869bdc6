"""The filter of a list of batch jobs.

Its fields and comparisons: `filter` of google.cloud.aiplatform.v1.ListBatchPredictionJobsRequest.
Its grammar, in which OR binds tighter than AND: https://google.aip.dev/160
"""

import operator
import re
from collections.abc import Callable

from localcloud.rest import ApiError, parse_time
from localcloud.vertex.batch.job import Job

Predicate = Callable[[Job], bool]
_TOKEN = re.compile(
    r"\s*(?:(?P<word>[()]|AND\b|OR\b|NOT\b)"
    r"|(?P<field>[a-z_]+(?:\.[\w-]+)?)\s*(?P<how>!=|<=|>=|[=<>:])\s*"
    r"(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>[^\s()\"]+)))"
)
_ORDER = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def parse_filter(text: str) -> Predicate:
    """Return what a filter says of a job; an empty one says yes to all.

    Raises:
        ApiError: 400; the filter is malformed, or has a field that there is not.
    """
    tokens = _tokens(text)
    if not tokens:
        return lambda job: True
    predicate = _conjunction(tokens)
    if tokens:
        raise _invalid(text)
    return predicate


def _tokens(text: str) -> list[str | Predicate]:
    found: list[str | Predicate] = []
    position = 0
    while text[position:].strip():
        token = _TOKEN.match(text, position)
        if not token:
            raise _invalid(text)
        position = token.end()
        if token["word"]:
            found.append(token["word"])
        else:
            value = token["bare"] if token["quoted"] is None else token["quoted"]
            found.append(_comparison(token["field"], token["how"], value))
    return found


def _conjunction(tokens: list[str | Predicate]) -> Predicate:
    parts = [_disjunction(tokens)]
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        parts.append(_disjunction(tokens))
    return lambda job: all(part(job) for part in parts)


def _disjunction(tokens: list[str | Predicate]) -> Predicate:
    parts = [_term(tokens)]
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        parts.append(_term(tokens))
    return lambda job: any(part(job) for part in parts)


def _term(tokens: list[str | Predicate]) -> Predicate:
    token = tokens.pop(0) if tokens else ""
    if callable(token):
        return token
    if token == "NOT":  # noqa: S105 - a word of the grammar
        inner = _term(tokens)
        return lambda job: not inner(job)
    if token == "(":  # noqa: S105
        inner = _conjunction(tokens)
        if tokens[:1] == [")"]:
            tokens.pop(0)
            return inner
    raise ApiError(400, f"Invalid filter: unexpected {token or 'end'!r}")


def _comparison(field: str, how: str, value: str) -> Predicate:
    if field.startswith("labels."):
        key = field.removeprefix("labels.")
        if how == ":" and value == "*":
            return lambda job: key in job.order.labels
        if how in ("=", "!="):
            return lambda job: (job.order.labels.get(key) == value) is (how == "=")
    elif field == "create_time" and how in _ORDER:
        time = parse_time(field, value)
        return lambda job: bool(_ORDER[how](job.created_at, time))
    elif field == "display_name" and how == ":":
        pattern = re.compile(".*".join(map(re.escape, value.split("*"))))
        return lambda job: bool(pattern.fullmatch(job.order.display_name))
    elif field in _TEXTS and how in ("=", "!="):
        return lambda job: bool(_ORDER[how](_TEXTS[field](job), value))
    raise ApiError(400, f"Invalid filter: {field} {how} is not supported.")


_TEXTS: dict[str, Callable[[Job], str]] = {
    "display_name": lambda job: job.order.display_name,
    "model_display_name": lambda job: job.order.model,
    "state": lambda job: job.state.value,
}


def _invalid(text: str) -> ApiError:
    return ApiError(400, f"Invalid filter: {text!r:.200}")
