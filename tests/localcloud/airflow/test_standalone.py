"""A real Airflow: it starts, runs what it is asked to, survives losses, and goes entirely."""

import contextlib
import datetime
import json
import os
import signal
import sqlite3
import time

import psutil
import pytest

from localcloud.airflow import Airflow, AirflowApiError, AirflowError, RunState
from localcloud.airflow.__main__ import main
from localcloud.airflow.home import Home
from localcloud.airflow.processes import ProcessGroup
from tests.conftest import Cloud, SmallAirflow

pytestmark = pytest.mark.full  # an Airflow of its own; tests/e2e uses all of it


@pytest.fixture
def airflow(small_airflow: SmallAirflow) -> Airflow:
    return small_airflow.airflow


def test_a_run_gets_its_values_and_gives_its_result_and_log(admin, cloud: Cloud):
    run = admin.trigger("double", {"number": 4})
    admin.wait_for_run("double", run, within_s=240)
    assert admin.run_state("double", run) is RunState.SUCCESS
    assert admin.xcom("double", run, "compute") == 8
    [task] = [t for t in admin.task_instances("double", run) if t.task_id == "compute"]
    assert (task.state, task.try_number) == ("success", 1)
    assert any("doubling 4" in line for line in admin.task_log("double", run, task))
    assert admin.extra_links("double", run, "compute") == {}
    seen = admin.xcom("double", run, "surroundings")
    assert seen["IMAGEN_BUCKET"] == "demo-project-imagen"
    assert seen["IMAGEN_POKE_SECONDS"] == "7"
    endpoints = json.loads(seen["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])["extra"]["api_endpoints"]
    assert endpoints == {
        "dataflow": f"{cloud.dataflow_url}/",
        "monitoring": f"{cloud.monitoring_url}/",
    }

    admin.clear("double", run, ["compute"])
    admin.wait_for_run("double", run, within_s=240)
    tries = {task.task_id: task.try_number for task in admin.task_instances("double", run)}
    assert tries == {"compute": 2, "surroundings": 1}


def test_a_trigger_that_waits_ends_with_the_end_of_the_run(airflow, capsys):
    state = str(airflow.home.path.parent)
    assert main(["--state", state, "trigger", "double", "--wait"]) == 0
    address, end = capsys.readouterr().out.splitlines()
    assert end == f"run {address.rpartition('/')[2]} of double is success"


def test_a_failed_run_is_reported_with_the_last_log_lines_of_its_failed_tasks(admin):
    run = admin.trigger("fails", run_id="a-failure")
    assert run == "a-failure"
    with pytest.raises(AirflowError) as caught:
        admin.wait_for_run("fails", run, within_s=240)
    for words in (
        "burst: failed",
        "after: upstream_failed",
        "first error of burst: ",
        "about to burst",
        "the pipe has burst",
    ):
        assert words in str(caught.value)
    admin.mark("fails", run, "burst", "success")
    states = {task.task_id: task.state for task in admin.task_instances("fails", run)}
    assert states["burst"] == "success"


def test_a_run_that_does_not_end_in_time_is_reported_with_its_state(admin, tmp_path, eventually):
    file = tmp_path / "go"
    run = admin.trigger("waits", {"file": str(file)})
    with pytest.raises(AirflowError, match=r"is (queued|running) after 0 s\nwait: "):
        admin.wait_for_run("waits", run, within_s=0)
    file.touch()
    admin.wait_for_run("waits", run, within_s=240)


def test_a_refused_value_is_reported_with_airflows_message(admin):
    with pytest.raises(AirflowApiError) as caught:
        admin.trigger("double", {"number": 10})
    assert caught.value.status in (400, 422)
    assert "10 is greater than the maximum of 9" in caught.value.detail
    assert "POST /api/v2/dags/double/dagRuns" in str(caught.value)
    with pytest.raises(AirflowApiError, match="422: logical_date"):
        admin._call("POST", "/api/v2/dags/double/dagRuns", json={})
    with pytest.raises(AirflowApiError, match=r"404.*no-such-dag"):
        admin.trigger("no-such-dag")


def test_a_viewer_sees_and_may_not_trigger(airflow):
    with airflow.client("viewer") as viewer:
        assert {dag.dag_id for dag in viewer.dags()} >= {"double", "fails", "waits"}
        with pytest.raises(AirflowApiError) as caught:
            viewer.trigger("double")
    assert caught.value.status == 403


def test_nobody_gets_in_without_the_password(airflow):
    client = airflow.client()
    client._login["password"] = "guess"
    with pytest.raises(AirflowApiError) as caught:
        client.dags()
    assert caught.value.status == 401


def test_variables_come_back_and_a_missing_one_is_none(admin):
    assert admin.variable("imagen/none") is None
    for value in ("on", "off"):
        admin.set_variable("imagen/wanted", value)
        assert admin.variable("imagen/wanted") == value


def test_the_server_answers_while_another_writes_and_its_audit_line_follows(
    airflow, admin, eventually
):
    told = "SELECT count(*) FROM log WHERE event = 'trigger_dag_run' AND dag_id = 'missing'"
    with contextlib.closing(sqlite3.connect(airflow.home.path / "airflow.db")) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(AirflowApiError) as caught:
            admin.trigger("missing")
        assert caught.value.status == 404
        assert database.execute(told).fetchone() == (0,)
        database.rollback()
        eventually(lambda: database.execute(told).fetchone() == (1,), what="the audit line")


def test_a_dag_can_be_paused_and_a_broken_file_is_reported(airflow, admin, eventually):
    admin.pause("double")
    assert {dag.dag_id for dag in admin.dags() if dag.paused} == {"double"}
    admin.pause("double", paused=False)

    dags = airflow.home.started().environment["AIRFLOW__CORE__DAGS_FOLDER"]
    with open(f"{dags}/broken.py", "w") as file:
        file.write("from airflow.sdk import dag, no_such_name\n")
    [error] = eventually(admin.import_errors, what="the import error")
    assert error.file == "broken.py"
    with pytest.raises(AirflowError, match=r"(?s)broken.py cannot be imported.*no_such_name"):
        airflow.wait_until_ready(within_s=120)
    os.remove(f"{dags}/broken.py")
    eventually(lambda: not admin.import_errors(), what="the end of the import error")


def test_a_second_start_is_refused(airflow):
    with pytest.raises(AirflowError, match=f"already running on .*, at {airflow.url}"):
        airflow.start({})


def test_every_socket_listens_on_this_machine_only(airflow):
    listening = []
    for process in ProcessGroup(airflow.home.path).members():
        # A task's process, or a worker's, may end while it is looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            listening += [
                connection.laddr
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert f"http://127.0.0.1:{listening[0].port}" == airflow.url


def test_what_was_queued_when_the_scheduler_was_killed_is_run_by_the_next(
    airflow, admin, tmp_path, eventually
):
    file = tmp_path / "go"
    running = admin.trigger("waits", {"file": str(file)})
    eventually(file.with_suffix(".began").exists, what="the task's beginning")
    before = airflow.components()["scheduler"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: "scheduler" not in airflow.components(), what="the scheduler's end")
    queued = admin.trigger("double", {"number": 2})
    at = time.time()
    assert airflow.restart("scheduler") == airflow.components()["scheduler"] != before
    airflow.wait_until_ready()
    heard = admin.health()["scheduler"]["latest_scheduler_heartbeat"]
    assert datetime.datetime.fromisoformat(heard).timestamp() > at
    file.touch()
    admin.wait_for_run("double", queued, within_s=240)
    assert admin.xcom("double", queued, "compute") == 4
    assert not psutil.pid_exists(before)
    assert running in admin.run_ids("waits")


def test_a_second_airflow_beside_it_takes_another_port_and_keeps_it(airflow, tmp_path):
    beside = Home(tmp_path)
    beside.prepare(["admin"])
    chosen = beside.choose_port()
    assert chosen != airflow.home.port()
    assert beside.choose_port() == chosen
    assert beside.passwords() != airflow.home.passwords()
    # A port that somebody else listens on is not taken again.
    beside._write("ports.json", {"api": airflow.home.port()})
    assert beside.choose_port() != airflow.home.port()


def test_stop_leaves_no_process_and_a_second_one_finds_nothing_to_do(airflow, admin, eventually):
    """Last in the file: there is nothing to test after it but the end."""
    before = ProcessGroup(airflow.home.path).members()
    assert len(before) >= 3
    # As after a crash: parents gone, children left.
    os.kill(airflow.components()["scheduler"], signal.SIGKILL)
    assert airflow.stop()
    assert not airflow.running()
    assert [process for process in before if process.is_running() and not _zombie(process)] == []
    assert not Airflow(airflow.home.path.parent).stop()


def _zombie(process) -> bool:
    return process.status() == psutil.STATUS_ZOMBIE
