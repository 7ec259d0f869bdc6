"""Filters and pages of jobs, and of a job's messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.dataflow.jobs import Job, Message
from localcloud.dataflow.states import Importance, View
from localcloud.rest import paginate, parse_enum, parse_time

_FILTERS = ("UNKNOWN", "ALL", "TERMINATED", "ACTIVE")
_MAX_JOBS = 1000
_MAX_MESSAGES = 1000


def jobs_page(jobs: Sequence[Job], query: Mapping[str, str]) -> dict[str, Any]:
    """Return a ListJobsResponse: always with summaries, and empty if there are no jobs.

    Args:
        jobs: the jobs of the requested project and location, the newest first.
        query: `filter`, `name`, `createTimeRange`, `terminationTimeRange`, paging.

    Raises:
        ApiError: 400; a query parameter is invalid.
    """
    selection = parse_enum("filter", query.get("filter"), _FILTERS)
    active = sorted((job for job in jobs if job.active), key=lambda job: job.created_at)
    ended = sorted((job for job in jobs if not job.active), key=lambda job: job.state_at)
    selected = {
        "UNKNOWN": list(jobs),
        "ALL": active + ended,
        "TERMINATED": ended,
        "ACTIVE": active,
    }[selection]
    if name := query.get("name"):
        selected = [job for job in selected if job.name == name]
    selected = [
        job
        for job in selected
        if _within(query, "createTimeRange", job.created_at)
        and (job.active or _within(query, "terminationTimeRange", job.state_at))
    ]
    page, token = paginate(selected, query, largest=_MAX_JOBS)
    answer: dict[str, Any] = {}
    if page:
        answer["jobs"] = [job.resource(View.SUMMARY) for job in page]
    return answer | ({"nextPageToken": token} if token else {})


def messages_page(messages: Sequence[Message], query: Mapping[str, str]) -> dict[str, Any]:
    """Return a ListJobMessagesResponse, the oldest message and autoscaling event first.

    Raises:
        ApiError: 400; a query parameter is invalid.
    """
    minimum = Importance(
        parse_enum("minimumImportance", query.get("minimumImportance"), list(Importance))
    )
    start = parse_time("start_time", query["startTime"]) if query.get("startTime") else None
    end = parse_time("end_time", query["endTime"]) if query.get("endTime") else None
    selected = [
        message
        for message in messages
        if message.importance.rank >= minimum.rank
        and (start is None or message.time >= start)
        and (end is None or message.time < end)
    ]
    page, token = paginate(selected, query, largest=_MAX_MESSAGES)
    answer: dict[str, Any] = {}
    if events := [event for message in page if (event := message.autoscaling_event())]:
        answer["autoscalingEvents"] = events
    if page:
        answer["jobMessages"] = [message.resource() for message in page]
    return answer | ({"nextPageToken": token} if token else {})


def _within(query: Mapping[str, str], name: str, when: float) -> bool:
    start, end = query.get(f"{name}.startTime"), query.get(f"{name}.endTime")
    return not (start and when < parse_time(name, start)) and not (
        end and when >= parse_time(name, end)
    )
