"""Airflow's processes killed while the DAGs work, and a Dataflow that fails its callers."""

import base64
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from localcloud.airflow import Airflow
from localcloud.airflow.responses import AirflowError
from tests.conftest import BUCKET, Cloud, eventually
from tests.e2e.conftest import SETTINGS, Operated, operated  # noqa: F401 - a fixture
from tests.faults.books import Books, prompt_bodies

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

START, HEALTH = "imagen_stream_start", "imagen_stream_health"
BACKFILL, REPLAY = "imagen_backfill", "imagen_dead_letters_replay"
# A run that a crash has left is taken over within a minute here, and a task tried again after one.
ENDS_WITHIN_S = 420.0
# With SQLite a restart of the database is one of all that have it open.
VICTIMS = ("scheduler", "task", "api-server", "everything")
# Of a run that failed, and succeeded when an operator had cleared it.
CLEARED = " when cleared"
# Health's limit of ten minutes, scaled as the time is that the model is down.
MAX_WAITED_S = 10


@pytest.fixture(scope="module")
def airflow(_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow to be broken: its own, nobody else works with it."""
    airflow = Airflow(tmp_path_factory.mktemp("broken"))
    settings = SETTINGS | {"IMAGEN_MAX_BACKLOG_AGE_SECONDS": str(MAX_WAITED_S)}
    airflow.start(_cloud.environment, settings=settings)
    try:
        airflow.wait_until_ready(within_s=400)
        yield airflow
    finally:
        airflow.stop()


def kill_tasks(scheduler: psutil.Process) -> int:
    """SIGKILL tasks, and the executor's processes that watch them; how many there were.

    One that is idle is spared. It holds the lock of LocalExecutor's queue: killed, it would leave
    the others deaf for good.
    """
    killed = 0
    for child in scheduler.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(child.cmdline())
            if "--" in title and "<idle>" not in title:
                child.kill()
                killed += 1
    return killed


def kill(operated: Operated, victim: str) -> None:  # noqa: F811
    """SIGKILL, and what was killed is started again."""
    components = operated.airflow.components()
    if victim == "task":
        scheduler = psutil.Process(components["scheduler"])
        eventually(lambda: kill_tasks(scheduler), what="a task's process to kill")
        return
    names = list(components) if victim == "everything" else [victim]
    for name in names:
        os.kill(components[name], signal.SIGKILL)
    for name in names:
        operated.airflow.restart(name)
    operated.airflow.wait_until_ready(within_s=400)


def ended(operated: Operated, dag_id: str, run_id: str) -> str:  # noqa: F811
    """The state in which a run ends, however often the API server is away meanwhile."""

    def state() -> str | None:
        try:
            found = operated.client.run_state(dag_id, run_id)
        except AirflowError:
            return None
        return found.value if found.ended else None

    return str(eventually(state, within_s=ENDS_WITHIN_S, what=f"the end of {dag_id} {run_id}"))


def killed_under_way(operated: Operated, dag_id: str, victim: str, form: Any = None) -> str:  # noqa: F811
    """Trigger a DAG, kill when one of its tasks is at work; how the run ended in the end.

    A run that failed by it is cleared once, as an operator would.
    """
    run_id = operated.client.trigger(dag_id, form)
    eventually(
        lambda: any(t.state == "running" for t in operated.client.task_instances(dag_id, run_id)),
        what="a task at work",
    )
    kill(operated, victim)
    state = ended(operated, dag_id, run_id)
    if state == "failed" and dag_id != HEALTH:
        failed = [
            task.task_id
            for task in operated.client.task_instances(dag_id, run_id)
            if task.state in ("failed", "upstream_failed")
        ]
        operated.client.clear(dag_id, run_id, failed, downstream=True)
        state = f"{ended(operated, dag_id, run_id)}{CLEARED}"
    return state


def whole_records(operated: Operated) -> int:  # noqa: F811
    """Count all records, each of which has to be whole."""
    blobs = operated.lane.storage.list_blobs(BUCKET, prefix="records/")
    names = [blob.name for blob in blobs if blob.name.endswith(".jsonl")]
    # Read anew by name: a day's object is rewritten by each run that ends.
    texts = [operated.lane.storage.bucket(BUCKET).blob(name).download_as_text() for name in names]
    lines = [line for text in texts for line in text.splitlines()]
    for line in lines:
        assert json.loads(line)["schema"], line
    return len(lines)


def test_a_killed_part_of_airflow_leaves_one_job_no_stuck_run_and_whole_records(
    faults,
    operated: Operated,  # noqa: F811
) -> None:
    chosen = [
        (dag_id, victim)
        for dag_id in (START, HEALTH, BACKFILL, REPLAY)
        for victim in faults.chance.sample(VICTIMS, faults.many(len(VICTIMS)))
    ]
    states, unaccounted, twice = [], 0, 0
    for number, (dag_id, victim) in enumerate(chosen):
        name = f"{faults.seed}-{number}"
        before = operated.cloud.models()["images"]
        if dag_id == BACKFILL:
            bodies = prompt_bodies(f"killed-{name}", 60)
            path = f"prompts/killed-{name}/all.jsonl"
            blob = operated.lane.storage.bucket(BUCKET).blob(path)
            blob.upload_from_string(b"\n".join(bodies))
            books = Books(operated.lane)
            state = killed_under_way(
                operated, BACKFILL, victim, {"prompts": f"gs://{BUCKET}/{path}"}
            )
            books.wait(bodies)
            books.close()
            unaccounted += len(books.missing(bodies))
            twice += operated.cloud.models()["images"] - before - len(bodies)
        elif dag_id == REPLAY:
            bodies = prompt_bodies(f"dead-{name}", 20)
            for body in bodies:
                operated.lane.publisher.publish(
                    operated.lane.topic("dead-letters"), dead_letter(body)
                ).result(30)
            state = killed_under_way(operated, REPLAY, victim)
            again = taken(operated, len(bodies))
            unaccounted += len(set(bodies) - again)
        else:
            state = killed_under_way(operated, dag_id, victim)
        states.append(f"{dag_id.removeprefix('imagen_')}, {victim}: {state}")
        assert len(operated.active_jobs()) <= 1
        if dag_id == START:
            assert state.removesuffix(CLEARED) == "success", states
            (job,) = operated.active_jobs()
            assert operated.job_state(job) == "JOB_STATE_RUNNING"
            operated.run("imagen_stream_drain")
        elif dag_id != HEALTH:
            assert state.removesuffix(CLEARED) == "success", states
        records = whole_records(operated)
    faults.row(
        "Airflow: a part of it is SIGKILLed while a DAG works",
        f"{'; '.join(states)}; {records} records, all whole",
        lost=unaccounted,
        paid_twice=twice,
    )
    assert unaccounted == 0
    assert twice == 0, "no job was killed"


def test_a_dataflow_that_fails_its_callers_gets_one_job_of_three_starts(
    faults,
    operated: Operated,  # noqa: F811
) -> None:
    before = sum(operated.cloud.dataflow(error_rate=0.2, latency_s=0.3).values())
    runs = [operated.client.trigger(START) for _ in range(3)]
    states = []
    for run_id in runs:
        state = ended(operated, START, run_id)
        if state == "failed":
            operated.client.clear(START, run_id, ["launch"], downstream=True)
            state = f"{ended(operated, START, run_id)}{CLEARED}"
        states.append(state)
    calls = sum(operated.cloud.dataflow(error_rate=0.0, latency_s=0.0).values()) - before
    (job,) = operated.active_jobs()
    faults.row(
        "Dataflow: 20 % of calls fail, all take 0.3 s; three starts",
        f"{calls:,} calls; one active job; runs: {', '.join(states)}",
    )
    assert operated.job_state(job) == "JOB_STATE_RUNNING"
    assert [state.removesuffix(CLEARED) for state in states] == ["success"] * 3


def test_three_launches_at_the_same_moment_make_one_job(
    faults,
    operated: Operated,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even Airflow's turns between them: three threads, as three deployments would."""
    started = operated.airflow.home.started()
    assert started is not None
    for name, value in started.environment.items():
        if name.startswith(("IMAGEN_", "AIRFLOW_CONN_")):
            monkeypatch.setenv(name, value)
    from imagen_ops.google.clients import Clients
    from imagen_ops.jobs.params import JobForm
    from imagen_ops.settings import Settings
    from imagen_ops.stream.launcher import StreamLauncher
    from imagen_ops.stream.start_decision import OnActive

    settings = Settings.from_environment()
    barrier, found, errors = threading.Barrier(3), [], []

    def launch(label: str) -> None:
        streams = StreamLauncher(settings, Clients(settings).dataflow)
        barrier.wait()
        try:
            form = JobForm(model=settings.model)
            found.append(streams.start(form, OnActive.KEEP, label).job.id)
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=launch, args=(f"race-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = operated.active_jobs()
    faults.row(
        "Dataflow: three launches at the same moment",
        f"one active job; {len(found)} got it, {len(errors)} were told to try again",
    )
    assert set(found) == {job}
    assert all("is in use" in error or "ALREADY_EXISTS" in error for error in errors), errors


def test_health_says_why_while_the_model_is_down_and_is_well_when_the_backlog_is_gone(
    faults,
    operated: Operated,  # noqa: F811
) -> None:
    operated.run(START)
    operated.cloud.models(down=True)
    bodies = prompt_bodies(f"down-{faults.seed}", 200)
    books = Books(operated.lane)
    operated.lane.publish(*bodies)
    looks = []

    def status() -> str:
        _, verdict, _ = operated.health()
        looks.append(verdict)
        return str(verdict["status"])

    eventually(lambda: status() != "HEALTHY", within_s=300, what="a verdict that something is up")
    first = looks[-1]
    assert first["status"] == "DEGRADED", "the job itself is well: nothing is to be restarted"
    assert first["reasons"][0]["code"] == "BACKLOG_AGE"
    assert "has waited" in first["reasons"][0]["text"]
    assert books.count() == 0, "no prompt is given up meanwhile"
    operated.cloud.models(down=False)
    books.wait(bodies)
    eventually(lambda: status() == "HEALTHY", within_s=300, what="a verdict that all is well")
    books.close()
    faults.row(
        "stream, through Airflow: the model is down until health says so",
        f"{len(bodies)} prompts; health: {', '.join(look['status'] for look in looks)}; "
        f"{first['reasons'][0]['code']}",
        lost=len(books.missing(bodies)),
    )
    assert not books.failures


def dead_letter(body: bytes) -> bytes:
    """A dead letter that is worth a replay."""
    letter = {
        "schema": "imagen.failure/1",
        "prompt_id": json.loads(body)["id"],
        "deduplication_key": "0f" * 32,
        "reason": "UNAVAILABLE",
        "detail": "no answer",
        "retryable": True,
        "attempts": 3,
        "source": "stream",
        "body": base64.b64encode(body).decode(),
        "attributes": {},
    }
    return json.dumps(letter).encode()


def taken(operated: Operated, count: int) -> set[bytes]:  # noqa: F811
    """Take what a replay has published, until there are so many different bodies."""
    found: set[bytes] = set()
    subscription = operated.lane.subscription("prompts")

    def all_there() -> bool:
        answer = operated.lane.subscriber.pull(
            subscription=subscription, max_messages=100, return_immediately=True, timeout=10
        )
        ids = [item.ack_id for item in answer.received_messages]
        if ids:
            operated.lane.subscriber.acknowledge(subscription=subscription, ack_ids=ids)
        found.update(item.message.data for item in answer.received_messages)
        return len(found) >= count

    eventually(all_there, what=f"{count} prompts")
    return found
