"""Which notifier a deployment names, and what becomes of an alert when it cannot be used."""

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
    """Where `Gossip` writes."""
    return tmp_path / "gossip.jsonl"


def setting(name: str, **kwargs: Any) -> dict[str, str]:
    """Return an environment that names a notifier of `gossip`."""
    return {"IMAGEN_NOTIFIER": json.dumps({"class": f"gossip.{name}", "kwargs": kwargs})}


def errors(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)


def test_the_example_is_a_notifier_that_can_be_made() -> None:
    notifier: Any = NotifierSpec.of(EXAMPLE).build()
    assert notifier.to == "ops@example.com"


def test_templates_see_the_alert_and_airflows_context(file: Path) -> None:
    nested = {"run": "{{ run_id }}", "text": "{{ text }}"}
    where = ["{{ event }}", nested, "{{ params.model }}", "<{{ log_url }}>"]
    dag = DAG("d", schedule=None)
    context = {"dag": dag, "run_id": "r", "text": "not this", "params": {"model": "m"}}
    assert notify(CONTENT, context, setting("Gossip", file=str(file), where=where))
    told = json.loads(file.read_text())
    assert told["where"] == ["run_failed", {"run": "r", "text": CONTENT["text"]}, "m", "<>"]
    # A notifier's own field of that name, as Slack's has one, does not hide the alert's.
    assert told["text"] == CONTENT["text"]
    assert context == {"dag": dag, "run_id": "r", "text": "not this", "params": {"model": "m"}}


def test_nobody_is_told_where_nobody_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert not notify(CONTENT, {}, {})
    assert not notify(CONTENT, {}, {"IMAGEN_NOTIFIER": "  "})
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "said"),
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
        ('{"class": "SmtpNotifier"}', "names no module"),
        ('{"class": "a.B", "kwargs": ["xoxb-very-secret"]}', "got list"),
        ('{"class": "a.B", "kwarg": {"token": "xoxb-very-secret"}}', "got also ['kwarg']"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_malformed_setting_is_refused_by_name_without_what_it_may_hide(
    value: str, said: str
) -> None:
    with pytest.raises(NotifierError) as refused:
        NotifierSpec.of(value)
    assert said in str(refused.value)
    assert "IMAGEN_NOTIFIER" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "kwargs", "said"),
    [
        ("nowhere.Notifier", {}, "nowhere.Notifier cannot be imported"),
        ("gossip.Nobody", {}, "gossip.Nobody cannot be imported"),
        ("gossip.function", {}, "expected a subclass of Airflow's BaseNotifier"),
        ("json.JSONDecoder", {}, "expected a subclass of Airflow's BaseNotifier"),
        ("gossip.Asynchronous", {}, "only notify asynchronously"),
        ("gossip.Gossip", {}, "does not take the kwargs []"),
        ("gossip.Gossip", {"file": "f", "token": SECRET}, "kwargs ['file', 'token']"),
        ("gossip.Unwilling", {"token": SECRET}, "not today"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_notifier_that_cannot_be_made_is_refused_with_the_reason(
    path: str, kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(NotifierError) as refused:
        NotifierSpec(path, kwargs).build()
    assert said in str(refused.value)
    assert "IMAGEN_NOTIFIER" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nobody", "cannot be imported"),
        ("Broken", "look at its kwargs and its Airflow connection"),
        ("Leaving", "look at its kwargs and its Airflow connection"),
    ],
)
def test_a_notifier_that_fails_is_an_error_in_the_log_and_no_more(
    caplog: pytest.LogCaptureFixture, file: Path, name: str, said: str
) -> None:
    assert not notify(CONTENT, {}, setting(name, file=str(file)))
    assert said in errors(caplog)
    assert "the alert run_failed was not sent" in errors(caplog)


def test_a_template_that_is_wrong_is_an_error_in_the_log_and_no_more(
    caplog: pytest.LogCaptureFixture, file: Path
) -> None:
    assert not notify(CONTENT, {}, setting("Gossip", file=str(file), text="{{ text"))
    assert "the alert run_failed was not sent" in errors(caplog)


def test_a_notifier_that_hangs_is_not_waited_for(
    caplog: pytest.LogCaptureFixture, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifiers, "LIMIT_S", 0.1)
    assert not notify(CONTENT, {}, setting("Slow", file=str(file)))
    assert "may not have been sent" in errors(caplog)
    assert "not done within 0.1 s" in errors(caplog)


class _Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as takes one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            verb = line.strip().upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                taken = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(taken.decode())  # type: ignore[attr-defined] # set below
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def mails() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    """The port of a mail server, and what came in."""
    taken: list[str] = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        server.daemon_threads = True
        server.mails = taken  # type: ignore[attr-defined] # for the handler above
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], lambda: list(taken)
        server.shutdown()


def test_the_smtp_providers_notifier_sends_a_mail(
    mails: tuple[int, Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, taken = mails
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    assert notify(CONTENT, {}, {"IMAGEN_NOTIFIER": EXAMPLE})
    (mail,) = taken()
    told = email.message_from_string(mail)
    assert (told["Subject"], told["To"]) == ("run_failed", "ops@example.com")
    (body,) = told.get_payload()
    assert body.get_payload(decode=True) == b"it &lt; fails {{ x }}"
