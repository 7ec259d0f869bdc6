"""Notifiers that a deployment names, and alerts whose notifier cannot be used."""

import email
import json
import logging
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from imagen_ops.alerts import notifiers
from imagen_ops.alerts.notifiers import EXAMPLE, NotifierError, NotifierSpec, notify

CONTENT = {"schema": "imagen.alert/1", "event": "run_failed", "text": "it < fails {{ x }}"}
SECRET = "xoxb-very-secret"


@pytest.fixture(autouse=True)
def _test_notifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "monitored"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where `FileNotifier` writes."""
    return tmp_path / "alerts.jsonl"


def setting(name: str, **kwargs: Any) -> dict[str, str]:
    """Return an environment that names a notifier of `fake_notifiers`."""
    return {"IMAGEN_NOTIFIER": json.dumps({"class": f"fake_notifiers.{name}", "kwargs": kwargs})}


def errors(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)


def test_the_example_is_a_notifier_that_can_be_created() -> None:
    notifier: Any = NotifierSpec.parse(EXAMPLE).build()
    assert notifier.to == "ops@example.com"


def test_templates_see_the_alert_and_airflows_context(file: Path) -> None:
    nested = {"run": "{{ run_id }}", "text": "{{ text }}"}
    where = ["{{ event }}", nested, "{{ params.model }}", "<{{ log_url }}>"]
    dag = DAG("d", schedule=None)
    context = {"dag": dag, "run_id": "r", "text": "not this", "params": {"model": "m"}}
    assert notify(CONTENT, context, setting("FileNotifier", file=str(file), where=where))
    line = json.loads(file.read_text())
    assert line["where"] == ["run_failed", {"run": "r", "text": CONTENT["text"]}, "m", "<>"]
    # A notifier's own field `text`, such as Slack's, does not hide that of the alert.
    assert line["text"] == CONTENT["text"]
    assert context == {"dag": dag, "run_id": "r", "text": "not this", "params": {"model": "m"}}


def test_without_a_notifier_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    assert not notify(CONTENT, {}, {})
    assert not notify(CONTENT, {}, {"IMAGEN_NOTIFIER": "  "})
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected JSON"),
        ("smtp://mail", "expected JSON"),
        ('{"class": "a.B", "kwargs": {"token": "xoxb-very-secret"}', "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "got list"),
        ("7", "got int"),
        ("{}", "got None"),
        ('{"class": 7}', "got 7"),
        ('{"class": ""}', "got ''"),
        ('{"class": "a..B"}', "got 'a..B'"),
        ('{"class": "a b.C"}', "got 'a b.C'"),
        ('{"class": "SmtpNotifier"}', "got 'SmtpNotifier'"),
        ('{"class": "a.B", "kwargs": ["xoxb-very-secret"]}', "got list"),
        ('{"class": "a.B", "kwarg": {"token": "xoxb-very-secret"}}', "also got kwarg"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_malformed_setting_is_rejected_without_quoting_its_secrets(
    value: str, message: str
) -> None:
    with pytest.raises(NotifierError) as raised:
        NotifierSpec.parse(value)
    assert message in str(raised.value)
    assert "IMAGEN_NOTIFIER" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "kwargs", "message"),
    [
        ("nowhere.Notifier", {}, "nowhere.Notifier cannot be imported"),
        ("fake_notifiers.Missing", {}, "fake_notifiers.Missing cannot be imported"),
        ("fake_notifiers.function", {}, "expected a subclass of Airflow's BaseNotifier"),
        ("json.JSONDecoder", {}, "expected a subclass of Airflow's BaseNotifier"),
        ("fake_notifiers.AsynchronousNotifier", {}, "only notify asynchronously"),
        ("fake_notifiers.FileNotifier", {}, "does not accept the kwargs none"),
        ("fake_notifiers.FileNotifier", {"file": "f", "token": SECRET}, "kwargs file, token"),
        ("fake_notifiers.UncreatableNotifier", {"token": SECRET}, "the constructor failed"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_notifier_that_cannot_be_created_is_rejected_with_the_reason(
    path: str, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotifierError) as raised:
        NotifierSpec(path, kwargs).build()
    assert message in str(raised.value)
    assert "IMAGEN_NOTIFIER" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Missing", "cannot be imported"),
        ("FailingNotifier", "Check its kwargs and its Airflow connection"),
        ("ExitingNotifier", "Check its kwargs and its Airflow connection"),
    ],
)
def test_a_failing_notifier_only_logs_an_error(
    caplog: pytest.LogCaptureFixture, file: Path, name: str, message: str
) -> None:
    assert not notify(CONTENT, {}, setting(name, file=str(file)))
    assert message in errors(caplog)
    assert "the alert run_failed was not sent" in errors(caplog)


def test_an_invalid_template_only_logs_an_error(
    caplog: pytest.LogCaptureFixture, file: Path
) -> None:
    assert not notify(CONTENT, {}, setting("FileNotifier", file=str(file), text="{{ text"))
    assert "the alert run_failed was not sent" in errors(caplog)


def test_a_notifier_that_hangs_is_not_waited_for(
    caplog: pytest.LogCaptureFixture, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifiers, "TIMEOUT_S", 0.1)
    assert not notify(CONTENT, {}, setting("SlowNotifier", file=str(file)))
    assert "may not have been sent" in errors(caplog)
    assert "did not finish within 0.1 s" in errors(caplog)


class _Mail(socketserver.StreamRequestHandler):
    """Enough of SMTP to receive one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile:
            verb = line.strip().upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                mail = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(mail.decode())  # type: ignore[attr-defined] # set below
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def mails() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    """The port of a mail server, and a function that returns the received mails."""
    received: list[str] = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        server.daemon_threads = True
        server.mails = received  # type: ignore[attr-defined] # for the handler above
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1], lambda: list(received)
        server.shutdown()


def test_the_smtp_providers_notifier_sends_a_mail(
    mails: tuple[int, Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, received_mails = mails
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    assert notify(CONTENT, {}, {"IMAGEN_NOTIFIER": EXAMPLE})
    (mail,) = received_mails()
    parsed = email.message_from_string(mail)
    assert (parsed["Subject"], parsed["To"]) == ("run_failed", "ops@example.com")
    (body,) = parsed.get_payload()
    assert body.get_payload(decode=True) == b"it &lt; fails {{ x }}"
