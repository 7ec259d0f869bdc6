"""The commands on a terminal, through a pipe, and when they are interrupted."""

import json
import re
import signal
import subprocess
import sys

import pytest

from beam_jobs import __main__ as cli
from beam_jobs.outcomes import Failure, Prediction, Reason, encode
from tests.conftest import ROOT
from tests.terminals import Terminal, take_control

PROMPTS = 100_000


@pytest.fixture(autouse=True)
def _a_terminal_of_today(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(f"A fox, number {number}\n" for number in range(PROMPTS)))
    return path


@pytest.fixture
def terminal():
    with Terminal() as terminal:
        yield terminal


def start(terminal, *words):
    """Start a command as a shell does, with the terminal for input, output, errors and Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "beam_jobs", *map(str, words)],
        cwd=ROOT,
        stdin=terminal.fd,
        stdout=terminal.fd,
        stderr=terminal.fd,
        start_new_session=True,
        preexec_fn=take_control,
    )


def prediction(number, **changes):
    fields = {
        "prompt_id": f"order-{number}",
        "deduplication_key": "0f" * 32,
        "digest": "d",
        "prompt": "a fox",
        "images": ("gs://b/1.png",),
        "model": "m",
        "source": "stream",
        "reused": False,
        "created_at": "now",
        "latency_ms": 1500,
    }
    return Prediction(**fields | changes)


def failure(number):
    return Failure(
        prompt_id=f"order-{number}",
        deduplication_key="0f" * 32,
        reason=Reason.BLOCKED,
        detail="no",
        retryable=False,
        attempts=1,
        body=b"",
    )


def send(lane, outcome):
    kind = "dead-letters" if isinstance(outcome, Failure) else "predictions"
    body, attributes = encode(outcome)
    lane.publisher.publish(lane.topic(kind), body, **attributes).result(timeout=120)


@pytest.mark.slow
def test_publishing_a_large_file_shows_how_far_it_is_and_how_fast(lane, terminal, many):
    command = start(terminal, "publish", "--file", many, "--topic", f"{lane.name}-prompts")
    assert command.wait(400) == 0
    terminal.hang_up()
    shares = [
        int(share)
        for share in re.findall(
            r"publishing +(\d+)% [█░]{12} [\d,]+/100,000 · [\d,.]+/s · \d:\d\d · \d:\d\d left",
            terminal.written,
        )
    ]
    assert len(set(shares)) > 5
    assert shares == sorted(shares)
    summary, last, end = terminal.lines()
    assert re.fullmatch(r"100,000 in \d:\d\d, [\d,]+/s", summary)
    assert (last, end) == (f"published 100,000 prompts to {lane.topic('prompts')}", "")


@pytest.mark.slow
def test_ctrl_c_while_publishing_prints_how_many_were_published(lane, terminal, many, eventually):
    command = start(terminal, "publish", "--file", many, "--topic", f"{lane.name}-prompts")
    eventually(lambda: re.search(r"publishing +[1-9]", terminal.written), what="progress")
    terminal.type("\x03")
    assert command.wait(120) == 130
    terminal.hang_up()
    # Threads of the client library that are interrupted may print something too.
    summary, error_line, *_, end = terminal.lines()
    assert re.fullmatch(r"[\d,]+ in \d:\d\d, [\d,]+/s", summary)
    match = re.fullmatch(
        r"published ([\d,]+) of 100,000 prompts; up to ([\d,]+) more may have been published",
        error_line,
    )
    assert match, error_line
    assert 0 < int(match[1].replace(",", "")) < PROMPTS
    assert end == ""


@pytest.mark.slow
def test_watch_shows_counts_and_rate_below_the_messages(lane, terminal, eventually):
    topics = [f"{lane.name}-predictions", f"{lane.name}-dead-letters"]
    command = start(terminal, "watch", "--topics", *topics)
    eventually(lambda: "seen 0" in terminal.written, what="watching")
    send(lane, prediction(1))
    send(lane, prediction(2, reused=True, prompt="\x1b[2Jowl"))
    send(lane, failure(3))
    counts = "2 predictions (1 reused), 1 dead letter (1 BLOCKED)"
    # The line is rewritten all the time, so it may differ at the next look.
    line = rf"seen 3 · [\d.]+/s · \d:\d\d · {re.escape(counts)}"
    eventually(lambda: re.fullmatch(line, terminal.lines()[-1]), what="the counts")
    terminal.type("\x03")
    assert command.wait(120) == 130
    terminal.hang_up()
    first, *lines, summary, end = terminal.lines()
    assert first == f"watching {', '.join(topics)} in demo-project"
    assert sorted(lines) == [
        "  gs://b/1.png",
        "  gs://b/1.png",
        r"✓ \x1b[2Jowl (reused)",
        "✓ a fox (1.5 s)",
        "✗ BLOCKED: no (order-3)",
    ]
    assert re.fullmatch(rf"{re.escape(counts)} in \d:\d\d", summary)
    assert end == ""
    assert "\033[32m✓\033[0m" in terminal.written
    assert "\033[31m✗\033[0m" in terminal.written


@pytest.mark.slow
def test_watch_without_colours_still_rewrites_its_line(lane, terminal, monkeypatch, eventually):
    monkeypatch.setenv("NO_COLOR", "1")
    send(lane, prediction(1))
    command = start(terminal, "watch", "--subscription", f"{lane.name}-predictions-sub")
    eventually(lambda: "seen 1 · " in terminal.written, what="the counts")
    terminal.type("\x03")
    assert command.wait(120) == 130
    terminal.hang_up()
    assert terminal.lines()[1] == "✓ a fox (1.5 s)"
    assert set(re.findall(r"\x1b\[\d*[A-Za-z]", terminal.written)) == {"\x1b[K"}


@pytest.mark.slow
@pytest.mark.parametrize("piped", ["stdout", "stderr"])
def test_watch_writes_plain_lines_unless_both_streams_are_terminals(lane, terminal, piped):
    send(lane, prediction(1))
    where = {"stdout": terminal.fd, "stderr": terminal.fd, piped: subprocess.PIPE}
    words = ["watch", "--subscription", f"{lane.name}-predictions-sub", "--count", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "beam_jobs", *words], cwd=ROOT, timeout=240, check=True, **where
    )
    terminal.hang_up()
    notice = (
        f"consuming {lane.name}-predictions-sub in demo-project: each message is acknowledged once "
        "it is shown\n"
    )
    shown = "✓ a fox (1.5 s)\n  gs://b/1.png\n"
    on_terminal = terminal.written.replace("\r\n", "\n").replace("\033[32m✓\033[0m", "✓")
    read = (done.stdout or done.stderr).decode()
    assert (read, on_terminal) == ((shown, notice) if piped == "stdout" else (notice, shown))


def test_publishing_through_pipes_prints_no_progress(lane, tmp_path, capsys):
    path = tmp_path / "p.txt"
    path.write_text("a fox\nan owl\n")
    code = cli.main(["publish", "--file", str(path), "--topic", f"{lane.name}-prompts"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.startswith(f"published 2 prompts to {lane.topic('prompts')}\nmessage IDs: ")
    assert out.count("\n") == 2


@pytest.mark.slow
def test_a_closed_pipe_ends_watch_without_an_error_message(lane, eventually):
    topic = lane.topic("predictions")

    def subscriptions():
        return len(list(lane.publisher.list_topic_subscriptions(topic=topic)))

    before = subscriptions()
    command = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs", "watch", "--topics", f"{lane.name}-predictions"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: subscriptions() == before + 1, what="watching")
    command.stdout.close()
    send(lane, prediction(1))
    error_line = command.stderr.read().decode()
    assert command.wait(120) == 128 + signal.SIGPIPE
    assert error_line == f"watching {lane.name}-predictions in demo-project\n"
    eventually(lambda: subscriptions() == before, what="the end of the watcher's subscription")


def test_images_lists_prompts_without_control_characters(lane, capsys):
    record = {
        "schema": "imagen.record/1",
        "prompt": "\x1b[31ma fox\x07",
        "model": "m",
        "images": [],
        "created_at": "2026-11-01T00:00:00+00:00",
    }
    lane.put("images/ab/x.json", json.dumps(record))
    assert cli.main(["images", "--location", lane.images_location]) == 0
    out, _ = capsys.readouterr()
    assert out.endswith("  \\x1b[31ma fox\\x07\n")
