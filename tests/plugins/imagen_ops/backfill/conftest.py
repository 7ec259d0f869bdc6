"""Plans of the lane's prompt files, and tasks of the backfill, against the local cloud."""

import asyncio
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.store import ImageStore
from beam_jobs.outcomes import Work
from beam_jobs.prompts.defaults import PromptDefaults, prompt_defaults
from beam_jobs.prompts.parse import Prompt, parse
from imagen_ops.backfill.listing import Fingerprint
from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.planning import plan_backfill
from tests.conftest import BUCKET, Cloud, Lane
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

PAID = Receipt("somebody", Work())

Run = Callable[..., Any]
Planned = Callable[..., Plan]

MODEL = "gemini-3.1-flash-image"
DEFAULTS = PromptDefaults(MODEL, frozenset({MODEL, "gemini-3-pro-image"}))
DAY = datetime(2026, 11, 22, tzinfo=UTC)
RUN_ID = "scheduled__2026-11-22T00:00:00+00:00"
# The plan of a day without files.
EMPTY_PLAN = dataclasses.replace(PLAN, fingerprint=str(Fingerprint())).to_json()


# Plans


def defaults_of(**options: Any) -> PromptDefaults:
    return prompt_defaults(
        **{"model": MODEL, "source": "backfill:plan", "bucket": BUCKET, **options}
    )


@pytest.fixture
def planned(lane: Lane) -> Planned:
    """Plan the lane's folder of prompts, or another glob in the lane's folder.

    Changes are arguments of `plan_backfill`, or options of the job that its prompts depend on.
    """

    def planned(pattern: str = "prompts/*", **changes: Any) -> Plan:
        taken = inspect.signature(plan_backfill).parameters
        limits = {name: changes.pop(name) for name in list(changes) if name not in taken}
        arguments = {
            "defaults": defaults_of(**limits),
            "images_location": lane.images_location,
            **changes,
        }
        return plan_backfill(lane.storage, f"gs://{BUCKET}/{lane.name}/{pattern}", **arguments)

    return planned


def prompt(body: str | dict[str, Any], origin: str = "") -> Prompt:
    data = json.dumps(body) if isinstance(body, dict) else body
    parsed = parse(data.encode(), {}, origin=origin, defaults=DEFAULTS)
    assert isinstance(parsed, Prompt)
    return parsed


def store(lane: Lane, *prompts: Prompt) -> None:
    """Store the records of prompts, with the job's own store."""

    async def put() -> None:
        async with aiohttp.ClientSession() as session:
            images = ImageStore(session, Location.parse(lane.images_location))
            for each in prompts:
                await images.put_record(
                    each.digest,
                    [],
                    deciding=each.deciding,
                    created_at="2026-11-01T00:00:00.000+00:00",
                    receipt=PAID,
                )

    asyncio.run(put())


# Tasks


@pytest.fixture
def backfill(deployment: Deployment, run_task: Run) -> Run:
    """Run a task of the backfill of `DAY`, with fields of its form."""

    def run(
        task: Any,
        *,
        outlet_events: Any = None,
        approved: Any = None,
        event: Any = None,
        state: Any = None,
        max_tries: int | None = None,
        try_number: int = 1,
        **form: object,
    ) -> Any:
        params = {
            "model": deployment.settings.model,
            "prompts": None,
            "day": None,
            "dry_run": False,
            "max_images": None,
            "max_cost_usd": None,
            "approval": "over_budget",
            **form,
        }
        return run_task(
            task,
            dag_id="imagen_backfill",
            run_id=RUN_ID,
            run_type="scheduled",
            day=DAY,
            params=params,
            outlet_events=outlet_events,
            approved=approved,
            event=event,
            state=state,
            max_tries=max_tries,
            try_number=try_number,
        )

    return run


@pytest.fixture
def poke(deployment: Deployment, run_task: Run) -> Run:
    """Check once with a sensor, as one of several runs of the backfill of `DAY`."""

    def poke(
        task: Any, run: str = "one", *, try_number: int = 1, dry_run: bool = False, **changes: Any
    ) -> Any:
        params = {
            "model": deployment.settings.model,
            "prompts": None,
            "day": None,
            "dry_run": dry_run,
            "max_images": 2,
            "max_cost_usd": None,
            "approval": "over_budget",
        }
        return run_task(
            task,
            dag_id="imagen_backfill",
            # Jobs of earlier tests are still listed as ended.
            run_id=f"scheduled__{deployment.lane.name}__{run}",
            day=DAY,
            params=params,
            try_number=try_number,
            **{"run_type": "scheduled", **changes},
        )

    return poke


@pytest.fixture
def _queued_jobs(cloud: Cloud) -> Iterator[None]:
    """Keep jobs queued, so that none starts."""
    cloud.dataflow(queued_s=600.0)
    yield
    cloud.dataflow(queued_s=0.5, unlisted_s=0.0)


def check_task(**changes: Any) -> Any:
    """Return the task `check` of a run with `PLAN`, changed."""
    from imagen_ops.backfill.operators import CheckBudget

    return CheckBudget(task_id="check", plan=dataclasses.replace(PLAN, **changes).to_json())


def launch_task(plan: Any = EMPTY_PLAN) -> Any:
    from imagen_ops.backfill.sensors import LaunchBackfillSensor

    return LaunchBackfillSensor(task_id="launch", plan=plan)


def active_jobs(deployment: Deployment) -> list[str]:
    return [job.id for job in deployment.clients.dataflow.active_like("imagen-backfill-")]


def cancel(deployment: Deployment, job_id: str, eventually: Run) -> None:
    """Cancel a job and wait until it has ended."""
    dataflow = deployment.clients.dataflow
    dataflow.cancel(job_id)
    eventually(lambda: dataflow.get(job_id).state.terminal, what="the end of the job")
