"""Batch jobs, against the stand-in of Vertex AI: created once, watched, and cancelled."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.errors import ApiError
from imagen_ops.jobs.batch_job import BatchState
from imagen_ops.jobs.launch_request import RUN_LABEL
from imagen_ops.prefetch.decision import CANCEL_PATIENCE
from imagen_ops.prefetch.run_prefetch import RunPrefetch
from imagen_ops.prefetch.state import Prefetch
from imagen_ops.prefetch.submission import SURE_AFTER
from tests.conftest import Cloud, eventually
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.prefetch.conftest import MODEL, ROWS

HOURS = timedelta(hours=12)
Ordered = Callable[..., Prefetch]
pytestmark = pytest.mark.usefixtures("deployment")


def jobs_of(deployment: Deployment, prefetch: RunPrefetch) -> list[Any]:
    """Return the batch jobs that there are of the run."""
    return deployment.clients.batches("global").labelled(RUN_LABEL, prefetch.run_label)


def ended(prefetch: RunPrefetch) -> Prefetch:
    eventually(prefetch.batches.watch, what="the end of the batch jobs")
    return prefetch.known()


def test_each_part_gets_one_job_however_often_it_is_submitted(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered
) -> None:
    ordered(2)
    assert [prefetch.batches.submit(HOURS) for _ in range(3)] == [True] * 3
    jobs = jobs_of(deployment, prefetch)
    assert {job.labels["imagen-part"] for job in jobs} == {"0", "1"}
    assert {part.job for part in prefetch.known().parts} == {job.name for job in jobs}
    state = ended(prefetch)
    assert [part.state for part in state.parts] == [BatchState.SUCCEEDED] * 2
    assert [part.counts and part.counts.successful for part in state.parts] == [ROWS] * 2
    assert not any(part.problem for part in state.parts)
    (folder, _) = (prefetch.folder.part("a", number).output for number in (0, 1))
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    assert list(deployment.lane.storage.list_blobs(bucket, prefix=prefix))


def test_a_try_that_died_before_its_answer_adopts_the_job(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered
) -> None:
    ordered()
    assert prefetch.batches.submit(HOURS)
    (part,) = prefetch.known().parts
    prefetch.change(lambda was: was.with_part(part.changed(job=None, state=None)))
    assert prefetch.batches.submit(HOURS)
    assert prefetch.known().parts[0].job == part.job
    assert len(jobs_of(deployment, prefetch)) == 1


def test_a_try_that_died_before_its_request_creates_a_job_once_it_is_sure(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered
) -> None:
    (part,) = ordered(asked_at=datetime.now(UTC)).parts
    assert not prefetch.batches.submit(HOURS), "there may be a job that no listing shows yet"
    assert jobs_of(deployment, prefetch) == []
    long_ago = datetime.now(UTC) - SURE_AFTER
    prefetch.change(lambda was: was.with_part(part.changed(asked_at=long_ago)))
    assert prefetch.batches.submit(HOURS)
    assert len(jobs_of(deployment, prefetch)) == 1


def test_a_request_without_an_answer_is_not_repeated_before_it_is_sure(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    ordered()
    cloud.batches(error_rate=1.0, error_status=503)
    assert not prefetch.batches.submit(HOURS)
    cloud.batches(error_rate=0.0)
    assert not prefetch.batches.submit(HOURS)
    assert jobs_of(deployment, prefetch) == []


def test_too_many_requests_are_repeated_at_once(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    ordered()
    cloud.batches(error_rate=1.0, error_status=429)
    assert not prefetch.batches.submit(HOURS)
    cloud.batches(error_rate=0.0)
    assert prefetch.batches.submit(HOURS)
    assert len(jobs_of(deployment, prefetch)) == 1


def test_what_is_not_submitted_in_time_is_left_out(prefetch: RunPrefetch, ordered: Ordered) -> None:
    ordered()
    assert prefetch.batches.submit(timedelta(seconds=-1))
    (part,) = prefetch.known().parts
    assert (part.job, part.ended, part.may_go_on) == (None, True, False)
    assert "could not be submitted in time" in part.problem


@pytest.mark.parametrize(
    "refusal", [{"unserved_models": MODEL}, {"forbidden": True}], ids=["model", "forbidden"]
)
def test_a_refusal_ends_a_part_in_words_and_no_other_try_asks_again(
    prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud, refusal: dict[str, Any]
) -> None:
    ordered()
    cloud.batches(**refusal)
    assert prefetch.batches.submit(HOURS)
    (part,) = prefetch.known().parts
    assert (part.job, part.ended, part.may_go_on) == (None, True, False)
    assert f"part 0 ({ROWS} images of {MODEL}): it was refused: " in part.problem
    cloud.batches(unserved_models="", forbidden=False)
    assert prefetch.batches.submit(HOURS)
    assert prefetch.known().parts[0].job is None


def test_at_the_deadline_a_job_is_cancelled_and_what_it_made_counts(
    prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    ordered()
    cloud.batches(kept_in="RUNNING")
    prefetch.batches.submit(HOURS)

    def half() -> bool:
        assert not prefetch.batches.watch()
        (part,) = prefetch.known().parts
        return part.state is BatchState.RUNNING

    eventually(half, what="a job that runs")
    prefetch.change(lambda was: was.changed(deadline=datetime.now(UTC)))
    state = ended(prefetch)
    (part,) = state.parts
    assert part.state is BatchState.CANCELLED
    assert part.counts
    assert part.counts.successful == ROWS / 2
    assert "its deadline passed, and this run cancelled it" in part.problem


@pytest.mark.parametrize("state", ["EXPIRED", "FAILED", "CANCELLED", "PARTIALLY_SUCCEEDED"])
def test_however_a_job_ends_it_is_said_and_nothing_is_created_again(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud, state: str
) -> None:
    ordered()
    cloud.batches(end_in=state)
    prefetch.batches.submit(HOURS)
    (part,) = ended(prefetch).parts
    assert part.state == state
    assert f"is {state}: " in part.problem
    assert prefetch.batches.submit(HOURS)
    assert len(jobs_of(deployment, prefetch)) == 1


def test_a_job_that_never_ran_has_taken_nothing(
    prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    ordered()
    cloud.batches(end_in="EXPIRED", end_after=0.0)
    prefetch.batches.submit(HOURS)
    state = ended(prefetch)
    assert prefetch.settle(state).images == 0


def test_a_job_that_does_not_end_is_given_up_and_keeps_its_share(
    prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    ordered()
    cloud.batches(kept_in="QUEUED")
    prefetch.batches.submit(HOURS)
    long_ago = datetime.now(UTC) - 2 * CANCEL_PATIENCE
    prefetch.change(lambda was: was.changed(deadline=long_ago))
    assert prefetch.batches.watch()
    (part,) = prefetch.known().parts
    assert (part.ended, part.may_go_on) == (True, True)
    assert "may still run" in part.problem
    assert prefetch.settle(prefetch.known()).images == ROWS


def test_an_outage_is_waited_out(prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud) -> None:
    ordered()
    prefetch.batches.submit(HOURS)
    cloud.batches(error_rate=1.0, error_status=403)
    assert not prefetch.batches.watch()
    cloud.batches(error_rate=0.0)
    assert ended(prefetch).parts[0].state is BatchState.SUCCEEDED


def test_a_second_job_of_a_part_is_cancelled(
    deployment: Deployment, prefetch: RunPrefetch, ordered: Ordered, cloud: Cloud
) -> None:
    cloud.batches(kept_in="QUEUED")
    ordered()
    prefetch.batches.submit(HOURS)
    (part,) = prefetch.known().parts
    prefetch.change(lambda was: was.with_part(part.changed(job=None, asked_at=None)))
    prefetch.batches.submit(HOURS)
    assert len(jobs_of(deployment, prefetch)) == 2
    prefetch.change(lambda was: was.with_part(part.changed(job=None)))
    prefetch.batches.submit(HOURS)
    first, second = sorted(jobs_of(deployment, prefetch), key=lambda job: job.created)
    assert prefetch.known().parts[0].job == first.name
    assert second.state in (BatchState.CANCELLING, BatchState.CANCELLED)


def test_the_hook_says_what_is_refused(deployment: Deployment) -> None:
    name = "projects/demo-project/locations/global/batchPredictionJobs/1"
    with pytest.raises(ApiError, match=r"reading batch job 1: HTTP 404") as refused:
        deployment.clients.batches("global").get(name)
    assert not refused.value.transient
