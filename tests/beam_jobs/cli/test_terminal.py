"""The status line: visible while work goes on, gone afterwards, and only on terminals."""

import io
import os
import pty
import time

import pytest

from beam_jobs.cli.terminal import StatusLine, is_terminal, painted
from tests.terminals import Terminal, seen


@pytest.fixture(autouse=True)
def _a_terminal_of_today(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def terminal():
    with Terminal(columns=40) as terminal:
        yield terminal


@pytest.fixture
def out(terminal):
    with terminal.stream() as stream:
        yield stream


def test_the_line_is_rewritten_in_place_and_gone_at_the_end(terminal, out, eventually):
    count = 0
    with StatusLine(out).showing(lambda: f"{count} done"):
        eventually(lambda: terminal.lines() == ["0 done"])
        count = 1
        eventually(lambda: terminal.lines() == ["1 done"])
    eventually(lambda: terminal.lines() == [""])


def test_other_output_goes_above_the_line(terminal, out, eventually):
    status = StatusLine(out)
    with status.showing(lambda: "working"):
        eventually(lambda: terminal.lines() == ["working"])
        with status.aside():
            print("a fox", file=out, flush=True)
        eventually(lambda: terminal.lines() == ["a fox", "working"])
    eventually(lambda: terminal.lines() == ["a fox", ""])


def test_the_summary_stays_even_after_an_interrupt(terminal, out, eventually):
    status = StatusLine(out)

    def work():
        with status.showing(lambda: "working", ended=lambda: "did half of it"):
            eventually(lambda: terminal.lines() == ["working"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    eventually(lambda: terminal.lines() == ["did half of it", ""])
    with status.showing(lambda: "working", ended=str):
        pass
    eventually(lambda: terminal.lines() == ["did half of it", ""])


def test_a_line_is_cut_to_the_terminals_width(terminal, out, eventually):
    with StatusLine(out).showing(lambda: "x" * 200):
        eventually(lambda: terminal.lines() == ["x" * 39])


def test_a_nested_line_is_shown_and_then_the_outer_one_again(terminal, out, eventually):
    status = StatusLine(out)
    with status.showing(lambda: "outer"):
        with status.showing(lambda: "inner"):
            eventually(lambda: terminal.lines() == ["inner"])
        eventually(lambda: terminal.lines() == ["outer"])


def test_nothing_is_drawn_after_the_end(terminal, out, eventually):
    asked = []
    with StatusLine(out).showing(lambda: asked.append(1) or "working"):
        eventually(lambda: len(asked) > 2)
    before = len(asked)
    time.sleep(0.3)  # three times as long as a drawing takes to come
    assert len(asked) == before


def test_a_closed_terminal_does_not_stop_the_program(eventually):
    window, programs = pty.openpty()
    stream = open(programs, "w", buffering=1)  # noqa: SIM115 - closing it fails
    asked = []
    with StatusLine(stream).showing(lambda: asked.append(1) or str(len(asked))):
        eventually(lambda: len(asked) > 2)
        os.close(window)
        before = len(asked)
        eventually(lambda: len(asked) > before + 2)
    with pytest.raises(OSError, match="Input/output"):
        stream.close()


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_file_or_a_terminal_that_cannot_rewrite_gets_nothing(monkeypatch, term, out, terminal):
    stream = io.StringIO() if term is None else out
    if term:
        monkeypatch.setenv("TERM", term)
    asked = []
    status = StatusLine(stream)
    with status.showing(lambda: asked.append(1) or "x", ended=lambda: "ended"), status.aside():
        time.sleep(0.3)  # three times as long as a drawing takes to come
    assert asked == []
    assert terminal.written == ""
    assert term or stream.getvalue() == ""


def test_both_have_to_be_terminals(out):
    assert is_terminal(out, out)
    assert not is_terminal(out, io.StringIO())


def test_colours_are_for_terminals_unless_no_color_is_set(monkeypatch, out):
    assert painted("fox", "32", out) == "\033[32mfox\033[0m"
    assert painted("fox", "", out) == "fox"
    assert painted("fox", "32", io.StringIO()) == "fox"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("fox", "32", out) == "fox"


def test_this_files_terminal_emulation_is_right():
    assert seen("ab\rc\x1b[K\n\x1b[32mok\x1b[0m") == ["c", "ok"]
    with pytest.raises(AssertionError, match="not every terminal"):
        seen("\x1b[2J")
