"""Airflow as Composer runs it: parts of it killed, its servers gone, other versions deployed."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcloud.airflow import Airflow
from localcloud.airflow.standalone import ROOT, SHAPES
from tests.conftest import BUCKET, Cloud, eventually
from tests.e2e.conftest import SETTINGS, Operated, operated  # noqa: F401 - a fixture
from tests.faults.books import Books, prompt_bodies
from tests.faults.composer import (
    Parts,
    at_work,
    deploy,
    job_that_stops,
    redis_loses_a_message,
    scheduler_dies_with_queued_tasks,
)
from tests.faults.test_airflow import (
    BACKFILL,
    CLEARED,
    HEALTH,
    REPLAY,
    START,
    dead_letter,
    ended,
    taken,
    whole_records,
)
from tests.localcloud.airflow.composer.servers import missing

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

# Tasks that launch, and tasks that wait for a job or for a message.
WAITING_AND_LAUNCHING = (
    (START, "launch"),
    (START, "wait_until_running"),
    (START, "wait_for_canary"),
    (HEALTH, "assess"),
    (BACKFILL, "launch"),
    (BACKFILL, "wait"),
    (REPLAY, "replay"),
)
# As in composer.tf: a lost message is noticed after the first, at the next of the second.
QUEUED_AGAIN_WITHIN_S = 180 + 60
# A crashed scheduler's tasks are adopted after 20 s here, at the next of checks every 5 s.
ADOPTED_WITHIN_S = 30


@pytest.fixture(scope="module")
def airflow(_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow to be broken, whose API server has two processes."""
    if not SHAPES["composer"].packages.is_dir():
        pytest.skip("make install-composer has not been run")
    airflow = Airflow(tmp_path_factory.mktemp("broken"))
    several = {"AIRFLOW__API__WORKERS": "2"}
    airflow.start(_cloud.environment, shape=SHAPES["composer"], settings=SETTINGS | several)
    try:
        airflow.wait_until_ready(within_s=600)
        yield airflow
    finally:
        airflow.stop()


@pytest.fixture
def parts(airflow: Airflow) -> Iterator[Parts]:
    parts = Parts(airflow)
    yield parts
    parts.close()
    deploy(airflow)


class Work:
    """A run of each DAG, with prompts that have to come out of it, whatever happens to Airflow."""

    def __init__(self, operated: Operated, name: str) -> None:  # noqa: F811
        self._operated = operated
        self._name = name
        self.bodies: list[bytes] = []
        self._images = 0

    def begin(self, dag_id: str) -> str:
        """Trigger a DAG, with something to do; the run's id."""
        lane, form = self._operated.lane, None
        self._images = self._operated.cloud.models()["images"]
        if dag_id == BACKFILL:
            self.bodies = prompt_bodies(f"{BACKFILL}-{self._name}", 40)
            path = f"prompts/{self._name}/all.jsonl"
            blob = lane.storage.bucket(BUCKET).blob(path)
            blob.upload_from_string(b"\n".join(self.bodies))
            form = {"prompts": f"gs://{BUCKET}/{path}"}
        if dag_id == REPLAY:
            self.bodies = prompt_bodies(f"{REPLAY}-{self._name}", 20)
            topic = lane.topic("dead-letters")
            for body in self.bodies:
                lane.publisher.publish(topic, dead_letter(body)).result(30)
        return self._operated.client.trigger(dag_id, form)

    def end(self, dag_id: str, run_id: str) -> tuple[str, int, int]:
        """Wait for the run's end, clearing it once; its state, prompts lost, images paid twice."""
        client = self._operated.client
        state = ended(self._operated, dag_id, run_id)
        if state == "failed" and dag_id != HEALTH:
            tasks = client.task_instances(dag_id, run_id)
            failed = [t.task_id for t in tasks if t.state in ("failed", "upstream_failed")]
            client.clear(dag_id, run_id, failed, downstream=True)
            state = f"{ended(self._operated, dag_id, run_id)}{CLEARED}"
        assert len(self._operated.active_jobs()) <= 1
        if dag_id == BACKFILL:
            books = Books(self._operated.lane)
            books.wait(self.bodies)
            books.close()
            twice = self._operated.cloud.models()["images"] - self._images - len(self.bodies)
            return state, len(books.missing(self.bodies)), twice
        if dag_id == REPLAY:
            again = taken(self._operated, len(self.bodies))
            return state, len(set(self.bodies) - again), 0
        return state, 0, 0


def test_a_killed_worker_leaves_one_job_no_stuck_run_and_whole_records(
    faults,
    operated: Operated,  # noqa: F811
    parts: Parts,
) -> None:
    chosen = [(*task, whole) for task in WAITING_AND_LAUNCHING for whole in (True, False)]
    chosen = faults.chance.sample(chosen, faults.many(len(chosen)))
    told, unaccounted, paid_twice = [], 0, 0
    for number, (dag_id, task_id, whole) in enumerate(chosen):
        work = Work(operated, f"worker-{faults.seed}-{number}")
        # What a task does is over too soon to be seen otherwise.
        operated.cloud.dataflow(latency_s=2.0)
        run_id = work.begin(dag_id)
        stopped = job_that_stops(operated) if task_id == "wait_for_canary" else []
        worker = at_work(operated, parts, dag_id, run_id, task_id)
        began = time.monotonic()
        parts.kill(worker, whole=whole)
        operated.cloud.dataflow(latency_s=0.0)
        for process in stopped:
            process.resume()
        state, lost, twice = work.end(dag_id, run_id)
        part = "worker" if whole else "main process"
        took = time.monotonic() - began
        name = dag_id.removeprefix("imagen_")
        told.append(f"{name}.{task_id}, {part}: {state} after {took:.0f} s")
        unaccounted, paid_twice = unaccounted + lost, paid_twice + twice
        assert dag_id == HEALTH or state.removesuffix(CLEARED) == "success", told
        if dag_id == START:
            operated.run("imagen_stream_drain")
    records = whole_records(operated)
    faults.row(
        "Composer: a worker, or only its main process, is SIGKILLed in a task",
        f"{'; '.join(told)}; {records} records, all whole",
        lost=unaccounted,
        paid_twice=paid_twice,
    )
    assert (unaccounted, paid_twice) == (0, 0)


def test_a_task_whose_message_comes_twice_is_done_once(
    faults,
    operated: Operated,  # noqa: F811
    parts: Parts,
) -> None:
    operated.cloud.dataflow(latency_s=3.0)
    run_id = operated.client.trigger(START)
    again = 0
    for task_id in ("launch", "wait_until_running"):
        at_work(operated, parts, START, run_id, task_id)
        again += parts.deliver_again()
    operated.cloud.dataflow(latency_s=0.0)
    assert again
    state = ended(operated, START, run_id)
    (job,) = operated.active_jobs()
    tries = {t.task_id: t.try_number for t in operated.client.task_instances(START, run_id)}
    faults.row(
        "Composer: messages to the workers are delivered twice, in mid-task",
        f"{again} messages; start: {state}; one active job; tries: {sorted(set(tries.values()))}",
    )
    assert state == "success"
    assert operated.job_state(job) == "JOB_STATE_RUNNING"


@pytest.mark.parametrize(
    ("lose", "fault"),
    [
        (scheduler_dies_with_queued_tasks, "the scheduler is killed between queued and sent"),
        (redis_loses_a_message, "Redis is emptied with a task's message in it"),
    ],
    ids=["scheduler", "redis"],
)
def test_a_health_check_whose_message_is_lost_is_queued_again_in_time(
    faults,
    operated: Operated,  # noqa: F811
    parts: Parts,
    lose: Callable[[Operated, Parts, str], str],
    fault: str,
) -> None:
    began = time.monotonic()
    run_id = lose(operated, parts, HEALTH)

    def begun() -> bool:
        tasks = operated.client.task_instances(HEALTH, run_id)
        return any(task.state not in (None, "queued", "scheduled") for task in tasks)

    eventually(begun, within_s=900, what="a task of the health check")
    took = time.monotonic() - began
    state = ended(operated, HEALTH, run_id)
    faults.row(
        f"Composer: {fault}",
        f"the health check began {took:.0f} s later; it ended as {state}",
    )
    assert took < QUEUED_AGAIN_WITHIN_S + ADOPTED_WITHIN_S + 60


@pytest.mark.parametrize("server", ["postgres", "redis", "triggerer"])
def test_a_server_that_is_gone_and_comes_back_leaves_no_run_behind(
    faults,
    operated: Operated,  # noqa: F811
    parts: Parts,
    server: str,
) -> None:
    seconds = faults.many(60, least=20)
    told, unaccounted, paid_twice = [], 0, 0
    for dag_id, task_id in ((START, "wait_until_running"), (BACKFILL, "wait")):
        work = Work(operated, f"{server}-{faults.seed}-{dag_id}")
        operated.cloud.dataflow(latency_s=2.0)
        run_id = work.begin(dag_id)
        at_work(operated, parts, dag_id, run_id, task_id)
        operated.cloud.dataflow(latency_s=0.0)
        began = time.monotonic()
        if server == "postgres":
            with parts.gone(server):
                time.sleep(seconds)
        elif server == "redis":
            parts.redis("FLUSHALL")
        else:
            with parts.gone(server):
                ended(operated, dag_id, run_id)
        state, lost, twice = work.end(dag_id, run_id)
        took = time.monotonic() - began
        told.append(f"{dag_id.removeprefix('imagen_')}: {state} after {took:.0f} s")
        unaccounted, paid_twice = unaccounted + lost, paid_twice + twice
        assert state.removesuffix(CLEARED) == "success", told
    operated.run("imagen_stream_drain")
    what = {
        "postgres": f"PostgreSQL is gone for {seconds} s",
        "redis": "Redis is emptied",
        "triggerer": "the triggerer is gone",
    }
    faults.row(
        f"Composer: {what[server]} while a start and a backfill wait",
        f"{'; '.join(told)}; ended with it, and started again: {often(parts.restarted) or 'none'}",
        lost=unaccounted,
        paid_twice=paid_twice,
    )
    assert (unaccounted, paid_twice) == (0, 0)


def often(names: list[str]) -> str:
    """Say how often each name is there."""
    return ", ".join(f"{name} ({count:,} times)" for name, count in Counter(names).items())


def copied(to: Path) -> tuple[Path, Path]:
    """Copy DAGs and plugins, to be changed."""
    for name in ("dags", "plugins"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    return to / "dags", to / "plugins"


def test_a_dag_file_that_is_broken_for_a_while_stops_no_run_for_good(
    faults,
    operated: Operated,  # noqa: F811
    airflow: Airflow,
    parts: Parts,
    tmp_path: Path,
) -> None:
    dags, plugins = copied(tmp_path)
    (dags / "imagen_stream.py").write_text("from airflow.sdk import dag, no_such_name\n")
    operated.cloud.dataflow(queued_s=30.0)
    run_id = operated.client.trigger(START)
    at_work(operated, parts, START, run_id, "wait_until_running")
    began = time.monotonic()
    deploy(airflow, dags, plugins)
    eventually(operated.client.import_errors, within_s=600, what="the import error")
    seen = time.monotonic() - began
    deploy(airflow)
    operated.cloud.dataflow(queued_s=0.0)
    state, *_ = Work(operated, "broken").end(START, run_id)
    (job,) = operated.active_jobs()
    faults.row(
        "Composer: a DAG file is broken while a start waits",
        f"the import error was seen after {seen:.0f} s; then the file was mended; start: {state}",
    )
    assert state.removesuffix(CLEARED) == "success"
    assert operated.client.xcom(START, run_id, "launch") == job


def test_a_new_version_that_is_deployed_in_mid_run_lets_each_run_end_well(
    faults,
    operated: Operated,  # noqa: F811
    airflow: Airflow,
    parts: Parts,
    tmp_path: Path,
) -> None:
    dags, plugins = copied(tmp_path)
    for path in [*dags.glob("*.py"), *plugins.rglob("*.py")]:
        path.write_text(f"{path.read_text()}\nANOTHER_VERSION = True\n")
    # The form of a start has another text, so that the DAG has another version too.
    stream = dags / "imagen_stream.py"
    stream.write_text(stream.read_text().replace("### Start the stream", "### Start it"))
    operated.cloud.dataflow(queued_s=20.0)
    before = operated.cloud.models()["images"]
    works = {dag_id: Work(operated, f"version-{dag_id}") for dag_id in (START, BACKFILL, REPLAY)}
    runs = {dag_id: work.begin(dag_id) for dag_id, work in works.items() if dag_id != REPLAY}
    for dag_id, task_id in ((START, "wait_until_running"), (BACKFILL, "wait")):
        at_work(operated, parts, dag_id, runs[dag_id], task_id)
    runs[REPLAY] = works[REPLAY].begin(REPLAY)
    deploy(airflow, dags, plugins)
    operated.cloud.dataflow(queued_s=0.0)
    found = {dag_id: ended(operated, dag_id, run_id) for dag_id, run_id in runs.items()}
    # The stream makes images of what the replay has published. Opened earlier, the books would have
    # taken the dead letters before the replay.
    books, bodies = Books(operated.lane), works[BACKFILL].bodies + works[REPLAY].bodies
    books.wait(bodies)
    books.close()
    unaccounted = len(books.missing(bodies))
    paid_twice = operated.cloud.models()["images"] - before - len(bodies)
    told = [f"{dag_id.removeprefix('imagen_')}: {state}" for dag_id, state in found.items()]
    # What is there now is the new version.
    after = operated.run(HEALTH)
    faults.row(
        "Composer: another version of DAGs and plugins is deployed while runs are under way",
        "; ".join(told),
        lost=unaccounted,
        paid_twice=paid_twice,
    )
    assert set(found.values()) == {"success"}, told
    assert operated.task(HEALTH, after, "assess").state == "success"
    assert "ANOTHER_VERSION" in (airflow.home.path / "gcs/plugins/imagen_plugin.py").read_text()
    assert (unaccounted, paid_twice) == (0, 0)
    assert parts.restarted == [], "nothing has ended by it"
