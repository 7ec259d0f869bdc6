"""The command line, and what there is before anything runs."""

import dataclasses
import datetime
import os
import stat
import unittest.mock

import pytest

from localcloud.airflow import Airflow, AirflowClient, AirflowError
from localcloud.airflow.__main__ import main
from localcloud.airflow.home import Home, Started
from localcloud.airflow.readiness import dag_files, wait_until_ready


def test_up_without_a_local_cloud_says_what_to_start(tmp_path, capsys):
    assert main(["--state", str(tmp_path), "up"]) == 1
    said = capsys.readouterr().err
    assert f"python -m localcloud --state {tmp_path} up --detach" in said


@pytest.mark.parametrize("words", [["url"], ["trigger", "some_dag"]], ids=" ".join)
def test_commands_that_need_an_airflow_say_how_to_start_it(tmp_path, capsys, words):
    assert main(["--state", str(tmp_path), *words]) == 1
    said = capsys.readouterr().err
    assert f"python -m localcloud.airflow --state {tmp_path} up" in said


def test_down_succeeds_when_nothing_runs(tmp_path):
    assert main(["--state", str(tmp_path / "never"), "down"]) == 0
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("conf", ["[1]", "{", "5"])
def test_a_conf_that_is_not_an_object_is_refused(tmp_path, capsys, conf):
    with pytest.raises(SystemExit):
        main(["--state", str(tmp_path), "trigger", "d", "--conf", conf])
    assert "expected a JSON object" in capsys.readouterr().err


def test_keys_and_passwords_are_created_once_and_only_the_owner_can_read_them(tmp_path):
    home = Home(tmp_path / "airflow")
    home.prepare(["admin", "viewer"])
    secrets, passwords = home.secrets(), home.passwords()
    assert set(passwords) == {"admin", "viewer"}
    assert passwords["admin"] != passwords["viewer"]
    again = Home(tmp_path / "airflow")
    again.prepare(["admin", "viewer"])
    assert (again.secrets(), again.passwords()) == (secrets, passwords)
    for name in ("secrets.json", "simple_auth_manager_passwords.json.generated"):
        assert stat.S_IMODE(os.stat(home.path / name).st_mode) == 0o600


def test_a_stopped_component_is_reported_with_the_end_of_its_log(tmp_path):
    (tmp_path / "scheduler.log").write_text("long before\n" * 50 + "no space left on device\n")
    with (
        AirflowClient("http://127.0.0.1:9", "admin", "x") as client,
        pytest.raises(AirflowError, match=r"(?s)^scheduler has stopped.*no space left on device"),
    ):
        wait_until_ready(
            client,
            Started(0.0, {}, {"scheduler": 1}),
            stopped=lambda: ["scheduler"],
            log=lambda name: tmp_path / f"{name}.log",
            expected=None,
            within_s=30,
        )


def beat(of: str, at: float) -> dict[str, str]:
    heard = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
    return {"status": "healthy", f"latest_{of}_heartbeat": heard}


@pytest.mark.parametrize("replaced", ["scheduler", "dag-processor"])
def test_the_last_heartbeat_of_a_replaced_component_does_not_count_for_its_successor(
    tmp_path, replaced
):
    (tmp_path / "dags").mkdir()
    at = dict.fromkeys(("scheduler", "dag-processor"), 20.0)
    client = unittest.mock.create_autospec(AirflowClient, instance=True)
    client.health.side_effect = lambda: {
        "scheduler": beat("scheduler", at["scheduler"]),
        "dag_processor": beat("dag_processor", at["dag-processor"]),
    }
    client.import_errors.return_value = client.dags.return_value = []
    environment = {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}

    def wait(started: Started) -> None:
        wait_until_ready(
            client,
            started,
            stopped=list,
            log=lambda name: tmp_path / f"{name}.log",
            expected=None,
            within_s=0,
        )

    started = Started(10.0, environment, {"scheduler": 1, "dag-processor": 2})
    wait(started)
    started = dataclasses.replace(started, replaced={replaced: 30.0})
    with pytest.raises(AirflowError, match=f"no heartbeat from {replaced};"):
        wait(started)
    at[replaced] = 31.0
    wait(started)


def test_an_airflow_that_does_not_answer_is_reported_as_such():
    with (
        AirflowClient("http://127.0.0.1:9", "admin", "x") as client,
        pytest.raises(AirflowError, match=r"GET /api/v2/monitor/health: .* is Airflow running\?"),
    ):
        client.health()


def test_an_unknown_component_cannot_be_replaced(tmp_path):
    airflow = Airflow(tmp_path)
    airflow.home.prepare([])
    with pytest.raises(AirflowError, match=r"no component 'flower'; known components: none"):
        airflow.restart("flower")


def test_only_files_that_airflow_treats_as_dag_files_are_waited_for(tmp_path):
    (tmp_path / "a.py").write_text("from airflow.sdk import DAG\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.py").write_text("from airflow.sdk import dag\n")
    (tmp_path / "helper.py").write_text("import json\n")
    (tmp_path / "notes.txt").write_text("airflow dag\n")
    assert dag_files(tmp_path) == {"a.py", "below/b.py"}
