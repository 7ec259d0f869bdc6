"""Newcomers run the demo first: it must work, print what it promises, and leave nothing running."""

import dataclasses
import io
import os
import queue
import re
import signal
import subprocess
import sys
import time
import unittest.mock
from collections import Counter
from pathlib import Path
from typing import TextIO

import psutil
import pytest

from beam_jobs.catalog import KNOWN_MODELS
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import parse
from localcloud.demo import prompts, scenes
from localcloud.demo.accounting import Accounting, Outcomes
from localcloud.demo.errors import one_line
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupted, Interrupts
from localcloud.demo.output import Output
from localcloud.demo.stage import Stage
from tests.conftest import ROOT, eventually
from tests.terminals import Terminal

PROMPTS = 59
# Other work may share the machine.
WITHIN_S = 900


def demo(state: Path, *words: str, out: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "localcloud.demo", "--state", str(state), *words],
        cwd=ROOT,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_running(state: Path) -> list[str]:
    """The processes that use the state: by command line, environment or open files."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), *process.environ().values()]
            words += [file.path for file in process.open_files()]
        except (psutil.Error, OSError):
            continue
        if any(str(state) in word for word in words):
            found.append(" ".join(process.cmdline()) or process.name())
    return found


# Two starts of an Airflow; how a demo ends early is tested with less below.
@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(2 * WITHIN_S)
def test_an_interrupted_demo_leaves_no_process_and_the_next_one_works(tmp_path, monkeypatch):
    state = tmp_path / "demo"
    monkeypatch.setenv("TERM", "xterm-256color")
    with Terminal() as terminal:
        _interrupt(state, terminal)
    _shows_the_whole_way(state)


def _interrupt(state: Path, terminal: Terminal) -> None:
    interrupted = demo(state, out=terminal.fd)
    airflow = state / "localcloud" / "airflow" / "started.json"
    eventually(airflow.exists, within_s=300, what="the start of Airflow")
    assert len(left_running(state)) > 4, "it would not be noticed if something were left"
    line = re.compile(r"   … \S+( \S+)? · waiting for Airflow and its DAGs: api-server, sched.*")
    eventually(lambda: line.fullmatch(terminal.lines()[-1]), what="what it waits for")
    assert len(terminal.lines()[-1]) < terminal.columns
    interrupted.send_signal(signal.SIGTERM)
    _, said = interrupted.communicate(timeout=240)
    assert interrupted.returncode == 128 + signal.SIGTERM, said
    message = r"error: interrupted by SIGTERM; .* has been stopped \(logs: .*\)\n"
    assert re.fullmatch(message, said), said
    assert left_running(state) == []
    terminal.hang_up()
    assert "· waiting for the job, Airflow and the local cloud to stop" in terminal.written
    assert not any("…" in line for line in terminal.lines()), "progress is gone when it ends"


@pytest.mark.slow
@pytest.mark.timeout(WITHIN_S)
def test_the_demo_shows_the_whole_way_and_leaves_no_process(tmp_path):
    _shows_the_whole_way(tmp_path / "demo")


def _shows_the_whole_way(state: Path) -> None:
    whole = demo(state)
    shown, said = whole.communicate(timeout=WITHIN_S)
    assert (whole.returncode, said) == (0, ""), shown + said
    assert left_running(state) == []

    assert "\033" not in shown, "colours are for terminals"
    stream = ("launch", "wait_for_canary", "assess", "drain", "report")
    for task in (*stream, "plan", "check", "wait", "reconcile", "replay"):
        assert re.search(rf"^ +{task} +success +\d+\.\d s$", shown, re.MULTILINE), task
    assert f"{PROMPTS}/{PROMPTS} " in shown
    assert ": 49 predictions, 7 INVALID_PROMPT, 2 BLOCKED, 1 MODEL_ERROR\n" in shown
    # One in six is bad on purpose, which health notices, if it has not looked in between.
    assert re.search(
        r"^ +verdict: (DEGRADED: 10 of the last 59 prompts failed|HEALTHY: )", shown, re.M
    )
    assert "plan: 15 prompts; 1 invalid row\n" in shown
    assert "plan: 17 images requested: 1 already stored (from 1 prompt), 16 to generate\n" in shown
    assert "report: 16 prompts = 15 predictions (1 reused at no cost) + 1 failure\n" in shown
    assert re.search(r"^ +1/1 ✗ NO_IMAGE: .*, can be replayed\)$", shown, re.MULTILINE)
    assert re.search(
        r"^ +2 published again: 1 (NO_IMAGE, 1 INVALID_PROMPT|INVALID_PROMPT, 1 NO_IMAGE)$",
        shown,
        re.M,
    )
    archived = "7 INVALID_PROMPT, 2 BLOCKED, 1 MODEL_ERROR"
    assert f"10 archived, because they would fail again: {archived}\n" in shown
    assert re.search(r" [12]/2 ✓ A comet above an orchard in bloom \(", shown)
    assert re.search(r" [12]/2 ✓ A reference that comes too late \(", shown)
    assert "the job is DRAINED; prompts left in the backlog: 0\n" in shown
    assert "Every prompt is accounted for" in shown
    assert "`make up`" in shown

    sheet = state / "contact-sheet"
    assert f"Contact sheet of all images: {sheet / 'index.html'}\n" in shown
    pictures = list((sheet / "images").glob("*.png"))
    page = (sheet / "index.html").read_text()
    assert len(pictures) > 50
    assert all(f"images/{picture.name}" in page for picture in pictures)


# It starts an Airflow of its own for one line; `wait_until_ready` has its test elsewhere.
@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(WITHIN_S)
def test_a_broken_dag_file_ends_the_demo_with_a_line_that_names_it(tmp_path):
    state, dags = tmp_path / "demo", tmp_path / "dags"
    dags.mkdir()
    (dags / "stream.py").write_text("from airflow.sdk import DAG\nraise ValueError('no good')\n")
    failing = demo(state, "--dags", str(dags))
    shown, said = failing.communicate(timeout=WITHIN_S)
    assert failing.returncode == 1, shown + said
    why = f"stream.py cannot be imported: ValueError: no good (logs: {state})"
    assert said == f"error: {why}\n"
    assert "in <module>" in (state / "error.log").read_text(), "the whole of it is kept"
    assert left_running(state) == []


BACKFILL = {
    "state": "done",
    "counts": {"prompts": 2, "predictions": 1, "failures": 1},
    "failures_by_reason": {"INVALID_PROMPT": 1, "BLOCKED": 0},
}
REPLAY = {
    "replayed": {"NO_IMAGE": 1},
    "archived": {"BLOCKED": 1, "INVALID_PROMPT": 1},
    "left": {},
    "unreadable": 0,
}
BALANCED = Accounting(
    published=3,
    stream=Outcomes(2, final=Counter(BLOCKED=1)),
    backfill=BACKFILL,
    backfill_outcomes=Outcomes(1, final=Counter(INVALID_PROMPT=1)),
    outage=Outcomes(retryable=Counter(NO_IMAGE=1)),
    replay=REPLAY,
    replayed_outcomes=Outcomes(1),
    drain={"state": "DRAINED", "backlog": 0},
)


def test_totals_that_add_up_have_no_discrepancies():
    assert BALANCED.discrepancies() == []


MISCOUNTED = {"prompts": 3, "predictions": 1, "failures": 1}
DISCREPANCIES = {
    "stream": (
        {"stream": Outcomes(1, final=Counter(BLOCKED=1))},
        "3 prompts were published to the stream, but 2 came back",
    ),
    "backfill": ({"backfill": BACKFILL | {"counts": MISCOUNTED}}, "read 3 prompts"),
    "backfill-state": (
        {"backfill": BACKFILL | {"state": "unaccounted"}},
        "the backfill ended in state unaccounted",
    ),
    "backfill-seen": (
        {"backfill_outcomes": Outcomes(0, final=Counter(INVALID_PROMPT=1))},
        "reports 1 predictions, 1 INVALID_PROMPT, but 1 INVALID_PROMPT were received",
    ),
    "backfill-reasons": (
        {"backfill": BACKFILL | {"failures_by_reason": {"BLOCKED": 1}}},
        "reports 1 predictions, 1 BLOCKED, but 1 predictions, 1 INVALID_PROMPT were received",
    ),
    "lucky": (
        {
            "outage": Outcomes(1),
            "replay": REPLAY | {"replayed": {}},
            "replayed_outcomes": Outcomes(),
        },
        "but became 1 predictions",
    ),
    "not-replayed": (
        {"replay": REPLAY | {"replayed": {}}, "replayed_outcomes": Outcomes()},
        "1 NO_IMAGE could be replayed, but the replay republished none",
    ),
    "not-archived": (
        {"replay": REPLAY | {"archived": {"BLOCKED": 1}}},
        "1 BLOCKED, 1 INVALID_PROMPT should have been archived, but the replay archived 1 BLOCKED",
    ),
    "left": (
        {"replay": REPLAY | {"left": {"NO_IMAGE": 2}}},
        "but left 2 NO_IMAGE and 0 unreadable",
    ),
    "unreadable": ({"replay": REPLAY | {"unreadable": 1}}, "but left none and 1 unreadable"),
    "failed-again": (
        {"replayed_outcomes": Outcomes(retryable=Counter(NO_IMAGE=1))},
        "1 prompts were replayed, but 0 predictions came back",
    ),
    "state": (
        {"drain": {"state": "CANCELLED", "backlog": 0}},
        "the stream ended in state CANCELLED",
    ),
    "backlog": ({"drain": {"state": "DRAINED", "backlog": 4}}, "after the drain is 4"),
    "unknown-backlog": (
        {"drain": {"state": "DRAINED", "backlog": None}},
        "after the drain is None",
    ),
}


@pytest.mark.parametrize(("change", "message"), DISCREPANCIES.values(), ids=DISCREPANCIES.keys())
def test_each_discrepancy_is_described_in_a_sentence(change, message):
    (discrepancy,) = dataclasses.replace(BALANCED, **change).discrepancies()
    assert message in discrepancy


def test_dead_letters_are_counted_by_whether_they_can_be_replayed():
    outcomes = Outcomes()
    for message in (
        {"deduplication_key": "a", "prompt": "A fox"},
        {"deduplication_key": "b", "reason": "NO_IMAGE", "retryable": True},
        {"deduplication_key": "c", "reason": "MODEL_ERROR", "retryable": False},
        {"deduplication_key": "d", "reason": "MODEL_ERROR", "retryable": True},
    ):
        assert outcomes.add(message)
        assert not outcomes.add(message), "a redelivery"
    assert outcomes == Outcomes(1, Counter(MODEL_ERROR=1), Counter(NO_IMAGE=1, MODEL_ERROR=1))
    assert outcomes.total() == 4
    assert str(outcomes) == "2 MODEL_ERROR, 1 predictions, 1 NO_IMAGE"


def prediction(key: str) -> dict[str, object]:
    seen = {"deduplication_key": key, "prompt": key, "source": "stream", "canary": False}
    return {**seen, "reused": True, "images": []}


def test_a_prompt_that_comes_back_twice_does_not_stand_in_for_one_that_is_missing():
    arrived: queue.Queue[dict[str, object]] = queue.Queue()
    for key in ("of another scene", "a", "b", "b", "c"):
        arrived.put(prediction(key))
    outcomes = scenes._collect(
        unittest.mock.create_autospec(Stage, instance=True),
        arrived,
        3,
        Output(io.StringIO()),
        source="stream",
        known={"of another scene"},
    )
    assert outcomes.keys == {"a", "b", "c"}
    assert outcomes.total() == 3


def test_every_prompt_of_the_demo_has_an_id_of_its_own():
    defaults = PromptDefaults(
        "gemini-3.1-flash-image", frozenset(KNOWN_MODELS), reference_buckets=None
    )
    bodies = [*prompts.stream_bodies(), prompts.outage_body()]
    ids = {
        parse(body, {}, origin=f"message {n}", defaults=defaults).deduplication_key
        for n, body in enumerate(bodies)
    }
    assert len(ids) == len(bodies) == PROMPTS + 1


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_interrupts_once_and_not_in_the_middle_of_a_step(number):
    steps = []
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted) as interrupted:  # noqa: PT012 - what runs of it is checked
            with interrupts.held():
                os.kill(os.getpid(), number)
                steps.append("whole")
            steps.append("next")
        os.kill(os.getpid(), number)
        steps.append("ended in peace")
    assert steps == ["whole", "ended in peace"]
    assert interrupted.value.number == number


def test_a_long_error_becomes_one_line_with_what_failed_and_why():
    account = "run x of start failed\nlaunch: failed\n  ApiError: no quota\n  INFO ::endgroup::\n"
    assert one_line(RuntimeError(account)) == "run x of start failed: ApiError: no quota"
    assert one_line(RuntimeError("not so:\n  because\n")) == "not so: because"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 9000))) == 400


def _print(out: TextIO, terminal: Terminal | None = None) -> None:
    output = Output(out)
    with output.waiting(lambda: "start is running"):
        if terminal is None:
            time.sleep(0.3)  # three times as long as a line takes to come
        else:
            eventually(lambda: "start is running" in terminal.written, what="the line")
        output.task("launch", "success", 1.25)


def test_a_terminal_gets_colours_and_a_status_line_and_a_file_gets_neither(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal() as terminal, terminal.stream() as out:
        _print(out, terminal)
        out.close()
        terminal.hang_up()
        assert re.search(r"   … \S+( \S+)? · start is running", terminal.written)
        assert "\033[32m" in terminal.written
        assert [line.split() for line in terminal.lines()] == [
            ["launch", "success", "1.2", "s"],
            [],
        ]
    file = io.StringIO()
    _print(file)
    assert file.getvalue() == "   launch                 success        1.2 s\n"


def test_without_colours_a_terminal_still_shows_the_status_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal() as terminal, terminal.stream() as out:
        _print(out, terminal)
        out.close()
        terminal.hang_up()
        assert "start is running" in terminal.written
        assert "\033[32m" not in terminal.written


def test_a_fresh_folder_keeps_what_is_not_the_demos(tmp_path):
    folder = Folder(tmp_path)
    folder.sheet.mkdir()
    folder.error.write_text("of the last time")
    (tmp_path / "thesis.txt").write_text("years of work")
    with folder.fresh():
        assert {path.name for path in tmp_path.iterdir()} == {"lock", "thesis.txt"}
