"""Six incidents, begun and ended by what the runbook says for one machine, word by word."""

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.conftest import PROJECT, eventually
from tests.docs.markdown import blocks, section, text_of
from tests.e2e.conftest import Operated

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
TEXT = section(text_of(ROOT / "docs" / "runbook.md"), "On one machine")


def command(cell: str) -> str:
    """Return the one command that a cell has; a ValueError says that it has none, or several."""
    (code,) = re.findall("`(.+?)`", cell)
    return code


ROWS = {
    re.split(":", cells[0])[0]: [command(cell) for cell in cells[1:]]
    for line in re.findall(r"(?m)^\| (.+) \|$", TEXT)
    for cells in [line.split(" | ")]
    if "](#" in cells[0]
}


class Shell:
    """A person's shell, with the functions that the runbook defines."""

    def __init__(self, operated: Operated, folder: Path) -> None:
        (block,) = blocks(TEXT, "bash")
        self._functions = "\n".join(line for line in block.splitlines() if "() {" in line)
        self._state = str(operated.cloud.state)
        self._environment = {
            **operated.cloud.environment,
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(folder),
        }

    def run(self, text: str) -> int:
        """Run commands; the exit code."""
        program = f"{self._functions}\n{text}".replace(r"\|", "|")
        program = program.replace("localcloud.airflow", f"localcloud.airflow --state {self._state}")
        program = program.replace(".state/localcloud", self._state)
        program = program.replace(".venv/bin/python", sys.executable)
        done = subprocess.run(["bash", "-c", program], cwd=ROOT, env=self._environment, check=False)
        return done.returncode


def test_each_incident_ends_by_the_runbook_alone(operated: Operated, tmp_path: Path) -> None:
    lane, cloud, shell = operated.lane, operated.cloud, Shell(operated, tmp_path)
    assert list(ROWS) == [
        *(
            "killed job",
            "everything fails",
            "model refuses",
            "storage gone",
            "quota cut",
            "over budget",
        )
    ]
    watch = f"projects/{PROJECT}/subscriptions/watch-{uuid.uuid4().hex[:8]}"
    lane.subscriber.create_subscription(name=watch, topic=lane.topic("dead-letters"))
    # So that the next test finds them calm, however this one ends.
    cloud.models(empty_rate=0.0, forbidden_models="")
    operated.run("imagen_stream_start")
    (job,) = operated.active_jobs()

    begin, end = ROWS["killed job"]
    assert shell.run(begin) == 0
    eventually(lambda: operated.job_state(job) == "JOB_STATE_FAILED", what="FAILED")
    assert shell.run(end) == 0, "the second check is green"
    (second,) = operated.active_jobs()
    assert second != job

    begin, end = ROWS["everything fails"]
    assert shell.run(begin) == 0
    seen = 0
    while seen < 4:
        pulled = lane.subscriber.pull(subscription=watch, max_messages=10, timeout=120)
        seen += len(pulled.received_messages)
    assert shell.run(end) == 0
    assert {p["prompt"] for p in lane.predictions(4)} == {f"A fox {n}" for n in range(1, 5)}

    begin, end = ROWS["model refuses"]
    assert shell.run(begin) == 0

    def refused() -> bool:
        _, verdict, _ = operated.health()
        return [reason["code"] for reason in verdict["reasons"]] == ["MODEL_REFUSES"]

    eventually(refused, what="MODEL_REFUSES")
    assert shell.run(end) == 0
    assert {p["prompt"] for p in lane.predictions(4)} == {f"A lynx {n}" for n in range(1, 5)}

    begin, end = ROWS["storage gone"]
    paid = cloud.models()["images"]
    assert shell.run(begin) == 0
    failed = cloud.storage()["failed"]
    eventually(lambda: cloud.storage()["failed"] > failed, what="a prompt that finds no storage")
    assert cloud.models()["images"] == paid
    assert shell.run(end) == 0
    assert {p["prompt"] for p in lane.predictions(4)} == {f"An owl {n}" for n in range(1, 5)}

    begin, end = ROWS["quota cut"]
    assert shell.run(begin) == 0
    assert shell.run(end) == 0
    assert {p["prompt"] for p in lane.predictions(4)} == {f"A hare {n}" for n in range(1, 5)}
    assert operated.active_jobs() == [second], "nothing had to be restarted"
    assert lane.nothing_left("dead-letters")

    begin, end = ROWS["over budget"]
    paid = cloud.models()["images"]
    assert shell.run(begin) == 1, "the run is red"
    assert cloud.models()["images"] == paid
    assert shell.run(end) == 0
    assert len(lane.predictions(2)) == 2
    operated.run("imagen_stream_drain")
    assert lane.nothing_left("prompts")
