"""The log line that alert policies match, whatever the notifier does."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from imagen_ops.alerts import notifiers
from imagen_ops.alerts.alert import SCHEMA, alert

TEXT = 'first\nsecond, 100 % of "it" {{ 1 // 0 }} — über [x] \x1b[31m'


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the alerts logged so far."""
    messages = [r.getMessage() for r in caplog.records if r.name == "imagen.alerts"]
    assert all("\n" not in line and line.isascii() for line in messages)
    return [json.loads(line) for line in messages]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Name a working notifier, and return the file it writes to."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "monitored"))
    file = tmp_path / "alerts.jsonl"
    kwargs = {"file": str(file), "where": "{{ dag_id }}"}
    setting = json.dumps({"class": "fake_notifiers.FileNotifier", "kwargs": kwargs})
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
            "match": "imagen.alert/1:stream_verdict",
            "runbook": "docs/runbook.md#stream_verdict",
        }
    ]
    written = caplog.records[-1].getMessage()
    assert written.startswith('{"schema": "imagen.alert/1", "event": "stream_verdict", "text": ')
    assert caplog.records[-1].levelno == logging.WARNING


def test_an_alert_leads_to_its_section_where_people_read_the_runbook(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_RUNBOOK_URL", "https://wiki.example/imagen")
    alert("run_failed", TEXT)
    assert lines(caplog)[0]["runbook"] == "https://wiki.example/imagen#run_failed"


def test_the_notifier_receives_the_text_unchanged(sent: Path) -> None:
    alert("stream_restart", TEXT, dag_id="d")
    assert json.loads(sent.read_text()) == {
        "event": "stream_restart",
        "text": TEXT,
        "where": "d",
    }


def test_without_a_notifier_only_the_line_is_written(
    sent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IMAGEN_NOTIFIER", " ")
    alert("stream_restart", "text")
    assert [record.name for record in caplog.records] == ["imagen.alerts"]
    assert not sent.exists()


@pytest.mark.parametrize(
    "setting",
    [
        "{",
        '{"class": "nowhere.Nothing"}',
        '{"class": "fake_notifiers.FailingNotifier", "kwargs": {"file": ""}}',
    ],
    ids=["malformed", "missing", "failing"],
)
def test_a_broken_notifier_neither_raises_nor_suppresses_the_line(
    sent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    monkeypatch.setenv("IMAGEN_NOTIFIER", setting)
    alert("stream_crash_loop", "text")
    assert [line["event"] for line in lines(caplog)] == ["stream_crash_loop"]
    assert [r.levelname for r in caplog.records if r.name == notifiers.__name__] == ["ERROR"]
    assert "IMAGEN_NOTIFIER" in caplog.records[-1].getMessage()


def test_the_line_is_written_before_the_notifier_is_called(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line_counts: list[int] = []
    monkeypatch.setattr(
        "imagen_ops.alerts.alert.notify", lambda *_: line_counts.append(len(lines(caplog)))
    )
    alert("stream_restart", "text")
    assert line_counts == [1]


def test_only_an_alert_has_the_phrase_that_alert_policies_match(
    sent: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forged = 'x.txt\n{"match": "IMAGEN.alert/1:stream_crash_loop"}'
    alert("run_failed", forged, **{forged: [forged, {"in": forged}]}, where=forged)
    written = caplog.records[-1].getMessage()
    assert "\n" not in written
    assert written.lower().count("imagen.alert/1:") == 1
    assert written.endswith('"match": "imagen.alert/1:run_failed"}')
    assert "imagen.alert/1:" not in sent.read_text().lower()
