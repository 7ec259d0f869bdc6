"""Which of the jobs, and of a job's messages, a reader asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.dataflow.jobs import Job, Message
from localcloud.dataflow.states import Importance, View
from localcloud.rest import one_of, page_of, time_of

_FILTERS = ("UNKNOWN", "ALL", "TERMINATED", "ACTIVE")
_MAX_JOBS = 1000
_MAX_MESSAGES = 1000


def jobs_page(jobs: Sequence[Job], query: Mapping[str, str]) -> dict[str, Any]:
    """Return a ListJobsResponse: summaries, always, and nothing at all where there are no jobs.

    Args:
        jobs: of the project, and of the location that was asked for; the newest first.
        query: `filter`, `name`, `createTimeRange`, `terminationTimeRange`, paging.
    """
    wanted = one_of("filter", query.get("filter"), _FILTERS)
    active = sorted((job for job in jobs if job.active), key=lambda job: job.created_at)
    ended = sorted((job for job in jobs if not job.active), key=lambda job: job.state_at)
    found = {
        "UNKNOWN": list(jobs),
        "ALL": active + ended,
        "TERMINATED": ended,
        "ACTIVE": active,
    }[wanted]
    if name := query.get("name"):
        found = [job for job in found if job.name == name]
    found = [
        job
        for job in found
        if _within(query, "createTimeRange", job.created_at)
        and (job.active or _within(query, "terminationTimeRange", job.state_at))
    ]
    page, token = page_of(found, query, largest=_MAX_JOBS)
    answer: dict[str, Any] = {}
    if page:
        answer["jobs"] = [job.resource(View.SUMMARY) for job in page]
    return answer | ({"nextPageToken": token} if token else {})


def messages_page(messages: Sequence[Message], query: Mapping[str, str]) -> dict[str, Any]:
    """Return a ListJobMessagesResponse, the oldest first."""
    least = Importance(
        one_of("minimumImportance", query.get("minimumImportance"), list(Importance))
    )
    start = time_of("start_time", query["startTime"]) if query.get("startTime") else None
    end = time_of("end_time", query["endTime"]) if query.get("endTime") else None
    found = [
        message
        for message in messages
        if message.importance.rank >= least.rank
        and (start is None or message.time >= start)
        and (end is None or message.time < end)
    ]
    page, token = page_of(found, query, largest=_MAX_MESSAGES)
    answer: dict[str, Any] = {}
    if page:
        answer["jobMessages"] = [message.resource() for message in page]
    return answer | ({"nextPageToken": token} if token else {})


def _within(query: Mapping[str, str], name: str, when: float) -> bool:
    start, end = query.get(f"{name}.startTime"), query.get(f"{name}.endTime")
    return not (start and when < time_of(name, start)) and not (end and when >= time_of(name, end))
