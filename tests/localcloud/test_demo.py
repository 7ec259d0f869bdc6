"""The demo is what a newcomer runs first: it must work, say what it claims, and leave nothing."""

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
from beam_jobs.prompts.parse import PromptDefaults, parse
from localcloud.demo import prompts, scenes
from localcloud.demo.errors import one_line
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupted, Interrupts
from localcloud.demo.stage import Stage
from localcloud.demo.sums import Ended, Sums
from localcloud.demo.telling import Teller
from tests.conftest import ROOT, eventually
from tests.terminals import Terminal

PROMPTS = 54
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
    """The processes that have to do with the state: by command, environment or open files."""
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


def _interrupt(state: Path, terminal: Terminal) -> None:
    interrupted = demo(state, out=terminal.fd)
    airflow = state / "localcloud" / "airflow" / "started.json"
    eventually(airflow.exists, within_s=300, what="the start of Airflow")
    assert len(left_running(state)) > 4, "it would not be noticed if something were left"
    line = re.compile(r"   … \d:\d\d · for Airflow to answer, .* the DAGs: api-server, sched.*")
    eventually(lambda: line.fullmatch(terminal.lines()[-1]), what="what it waits for")
    assert len(terminal.lines()[-1]) < terminal.columns
    interrupted.send_signal(signal.SIGTERM)
    _, said = interrupted.communicate(timeout=240)
    assert interrupted.returncode == 128 + signal.SIGTERM, said
    assert re.fullmatch(r"error: interrupted by SIGTERM; .* ended \(logs: .*\)\n", said), said
    assert left_running(state) == []
    terminal.hang_up()
    assert "· for the job, Airflow and the local cloud to end" in terminal.written
    assert not any("…" in line for line in terminal.lines()), "progress is gone when it ends"


@pytest.mark.slow
@pytest.mark.timeout(2 * WITHIN_S)
def test_an_interrupted_demo_leaves_no_process_and_the_next_one_shows_the_whole_way(
    tmp_path, monkeypatch
):
    state = tmp_path / "demo"
    monkeypatch.setenv("TERM", "xterm-256color")
    with Terminal() as terminal:
        _interrupt(state, terminal)

    whole = demo(state)
    shown, said = whole.communicate(timeout=WITHIN_S)
    assert (whole.returncode, said) == (0, ""), shown + said
    assert left_running(state) == []

    assert "\033" not in shown, "colours are for terminals"
    stream = ("launch", "wait_for_canary", "assess", "drain", "report")
    for task in (*stream, "plan", "check", "wait", "reconcile", "replay"):
        assert re.search(rf"^ +{task} +success +\d+\.\d s$", shown, re.MULTILINE), task
    assert f"{PROMPTS}/{PROMPTS} " in shown
    assert ": 45 predictions, 6 INVALID_PROMPT, 2 BLOCKED, 1 MODEL_ERROR\n" in shown
    # One in six is bad on purpose, which health notices, if it has not looked in between.
    assert re.search(r"^ +verdict: (DEGRADED: 9 of 54 prompts failed|HEALTHY: )", shown, re.M)
    assert "plan: 13 prompts; 1 row that are none\n" in shown
    assert "plan: 15 images wanted, 1 already made (of 1 prompt), 14 to pay\n" in shown
    assert "report: 14 prompts = 13 predictions (1 reused, unpaid) + 1 failures\n" in shown
    assert re.search(r"^ +1/1 ✗ NO_IMAGE: .*, may be replayed\)$", shown, re.MULTILINE)
    assert "1 back to the prompts: 1 NO_IMAGE\n" in shown
    archived = "7 INVALID_PROMPT, 2 BLOCKED, 1 MODEL_ERROR"
    assert f"10 that would fail again archived: {archived}\n" in shown
    assert " 1/1 ✓ A comet above an orchard in bloom (" in shown
    assert "the job is DRAINED; left in the backlog: 0\n" in shown
    assert "Every prompt is accounted for" in shown
    assert "`make up`" in shown

    sheet = state / "contact-sheet"
    assert f"The pictures: {sheet / 'index.html'}\n" in shown
    pictures = list((sheet / "images").glob("*.png"))
    page = (sheet / "index.html").read_text()
    assert len(pictures) > 50
    assert all(f"images/{picture.name}" in page for picture in pictures)


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
SUMS = Sums(
    published=3,
    stream=Ended(2, final=Counter(BLOCKED=1)),
    backfill=BACKFILL,
    followed=Ended(1, final=Counter(INVALID_PROMPT=1)),
    unlucky=Ended(retryable=Counter(NO_IMAGE=1)),
    replay=REPLAY,
    again=Ended(1),
    drained={"state": "DRAINED", "backlog": 0},
)


def test_what_adds_up_is_not_complained_about():
    assert SUMS.wrong() == []


MISCOUNTED = {"prompts": 3, "predictions": 1, "failures": 1}
WRONG = {
    "stream": ({"stream": Ended(1, final=Counter(BLOCKED=1))}, "3 prompts went in, 2 came out"),
    "backfill": ({"backfill": BACKFILL | {"counts": MISCOUNTED}}, "read 3 prompts"),
    "backfill-state": ({"backfill": BACKFILL | {"state": "unaccounted"}}, "it ended unaccounted"),
    "backfill-seen": (
        {"followed": Ended(0, final=Counter(INVALID_PROMPT=1))},
        "reports 1 predictions, 1 INVALID_PROMPT; 1 INVALID_PROMPT came out",
    ),
    "backfill-reasons": (
        {"backfill": BACKFILL | {"failures_by_reason": {"BLOCKED": 1}}},
        "reports 1 predictions, 1 BLOCKED; 1 predictions, 1 INVALID_PROMPT came out",
    ),
    "lucky": (
        {"unlucky": Ended(1), "replay": REPLAY | {"replayed": {}}, "again": Ended()},
        "it became 1 predictions",
    ),
    "not-replayed": (
        {"replay": REPLAY | {"replayed": {}}, "again": Ended()},
        "1 NO_IMAGE could be replayed, none were",
    ),
    "not-archived": (
        {"replay": REPLAY | {"archived": {"BLOCKED": 1}}},
        "1 BLOCKED, 1 INVALID_PROMPT were to be archived, 1 BLOCKED were",
    ),
    "left": ({"replay": REPLAY | {"left": {"NO_IMAGE": 2}}}, "it left 2 NO_IMAGE and 0 that"),
    "unreadable": ({"replay": REPLAY | {"unreadable": 1}}, "it left none and 1 that"),
    "failed-again": (
        {"again": Ended(retryable=Counter(NO_IMAGE=1))},
        "1 prompts were replayed, 0 predictions came",
    ),
    "state": ({"drained": {"state": "CANCELLED", "backlog": 0}}, "it ended CANCELLED"),
    "backlog": ({"drained": {"state": "DRAINED", "backlog": 4}}, "it left 4"),
    "unknown-backlog": ({"drained": {"state": "DRAINED", "backlog": None}}, "it left None"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_add_up_is_said_in_words(change, words):
    (wrong,) = dataclasses.replace(SUMS, **change).wrong()
    assert words in wrong


def test_dead_letters_are_counted_by_whether_they_may_be_replayed():
    ended = Ended()
    for message in (
        {"prompt_id": "a", "prompt": "A fox"},
        {"prompt_id": "b", "reason": "NO_IMAGE", "retryable": True},
        {"prompt_id": "c", "reason": "MODEL_ERROR", "retryable": False},
        {"prompt_id": "d", "reason": "MODEL_ERROR", "retryable": True},
    ):
        ended.add(message)
        ended.add(message)
    assert ended == Ended(1, Counter(MODEL_ERROR=1), Counter(NO_IMAGE=1, MODEL_ERROR=1))
    assert ended.total() == 4
    assert str(ended) == "2 MODEL_ERROR, 1 predictions, 1 NO_IMAGE"


def prediction(prompt_id: str) -> dict[str, object]:
    seen = {"prompt_id": prompt_id, "prompt": prompt_id, "source": "stream", "canary": False}
    return {**seen, "reused": True, "images": []}


def test_a_prompt_that_comes_back_twice_does_not_stand_in_for_one_that_is_missing():
    arrived: queue.Queue[dict[str, object]] = queue.Queue()
    for prompt_id in ("of another scene", "a", "b", "b", "c"):
        arrived.put(prediction(prompt_id))
    ended = scenes._follow(
        unittest.mock.create_autospec(Stage, instance=True),
        arrived,
        3,
        Teller(io.StringIO()),
        source="stream",
        known={"of another scene"},
    )
    assert ended.prompt_ids == {"a", "b", "c"}
    assert ended.total() == 3


def test_the_demos_prompts_can_be_told_apart_by_their_ids():
    defaults = PromptDefaults("gemini-3.1-flash-image", frozenset(KNOWN_MODELS))
    bodies = [*prompts.stream_bodies(), prompts.unlucky_body()]
    ids = {
        parse(body, {}, origin=f"message {n}", defaults=defaults).prompt_id
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


def test_a_long_account_becomes_one_line_with_what_failed_and_why():
    account = "run x of start failed\nlaunch: failed\n  ApiError: no quota\n  INFO ::endgroup::\n"
    assert one_line(RuntimeError(account)) == "run x of start failed: ApiError: no quota"
    assert one_line(RuntimeError("not so:\n  because\n")) == "not so: because"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 9000))) == 400


def _tell(out: TextIO, terminal: Terminal | None = None) -> None:
    tell = Teller(out)
    with tell.waiting(lambda: "start is running"):
        if terminal is None:
            time.sleep(0.3)  # three times as long as a line takes to come
        else:
            eventually(lambda: "start is running" in terminal.written, what="the line")
        tell.task("launch", "success", 1.25)


def test_a_terminal_gets_colours_and_what_is_waited_for_and_a_file_none(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal() as terminal, terminal.stream() as out:
        _tell(out, terminal)
        out.close()
        terminal.hang_up()
        assert re.search(r"   … \d:\d\d · start is running", terminal.written)
        assert "\033[32m" in terminal.written
        assert [line.split() for line in terminal.lines()] == [
            ["launch", "success", "1.2", "s"],
            [],
        ]
    file = io.StringIO()
    _tell(file)
    assert file.getvalue() == "   launch                 success        1.2 s\n"


def test_without_colours_a_terminal_still_shows_what_is_waited_for(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal() as terminal, terminal.stream() as out:
        _tell(out, terminal)
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
