"""The line that alert policies match, and that a notifier cannot keep it from being written."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from imagen_ops.alerts import notifiers
from imagen_ops.alerts.alert import SCHEMA, alert

TEXT = 'first\nsecond, 100 % of "it" {{ 1 // 0 }} — über [x] \x1b[31m'


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the alerts written so far."""
    found = [r.getMessage() for r in caplog.records if r.name == "imagen.alerts"]
    assert all("\n" not in line and line.isascii() for line in found)
    return [json.loads(line) for line in found]


@pytest.fixture
def gossip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of a notifier that works."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "monitored"))
    file = tmp_path / "gossip.jsonl"
    kwargs = {"file": str(file), "where": "{{ dag_id }}"}
    setting = json.dumps({"class": "gossip.Gossip", "kwargs": kwargs})
    monkeypatch.setenv("IMAGEN_NOTIFIER", setting)
    return file


def test_an_alert_is_one_line_of_json_with_schema_and_event_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alert("stream_verdict", TEXT, status="DOWN", reasons=["A", "B"], path=Path("x"))
    assert lines(caplog) == [
        {
            "schema": SCHEMA,
            "event": "stream_verdict",
            "text": TEXT,
            "status": "DOWN",
            "reasons": ["A", "B"],
            "path": "x",
        }
    ]
    written = caplog.records[-1].getMessage()
    assert written.startswith('{"schema": "imagen.alert/1", "event": "stream_verdict", "text": ')
    assert caplog.records[-1].levelno == logging.WARNING


def test_the_notifier_is_given_the_text_as_it_is(gossip: Path) -> None:
    alert("stream_restart", TEXT, dag_id="d")
    assert json.loads(gossip.read_text()) == {
        "event": "stream_restart",
        "text": TEXT,
        "where": "d",
    }


def test_without_a_notifier_the_line_is_all(
    gossip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IMAGEN_NOTIFIER", " ")
    alert("stream_restart", "text")
    assert [record.name for record in caplog.records] == ["imagen.alerts"]
    assert not gossip.exists()


@pytest.mark.parametrize(
    "setting",
    ["{", '{"class": "nowhere.Nothing"}', '{"class": "gossip.Broken", "kwargs": {"file": ""}}'],
    ids=["malformed", "missing", "failing"],
)
def test_a_notifier_that_does_not_work_neither_fails_nor_hides_the_line(
    gossip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    monkeypatch.setenv("IMAGEN_NOTIFIER", setting)
    alert("stream_crash_loop", "text")
    assert [one["event"] for one in lines(caplog)] == ["stream_crash_loop"]
    assert [r.levelname for r in caplog.records if r.name == notifiers.__name__] == ["ERROR"]
    assert "IMAGEN_NOTIFIER" in caplog.records[-1].getMessage()


def test_the_line_is_written_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "imagen_ops.alerts.alert.notify", lambda *_: seen.append(len(lines(caplog)))
    )
    alert("stream_restart", "text")
    assert seen == [1]
