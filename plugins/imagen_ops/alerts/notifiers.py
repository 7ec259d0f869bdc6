"""Sends alerts to people through an Airflow provider's notifier.

`IMAGEN_NOTIFIER` names it as JSON: `{"class": "airflow.providers.….SomeNotifier", "kwargs": {…}}`.
Any subclass of Airflow's BaseNotifier from an installed provider works. The notifier decides which
of its kwargs are templates. Templates can use the alert's fields, such as `{{ text }}` and
`{{ event }}`, and Airflow's context: in a task, the task's; at the end of a run, that of the task
that decided the run, if there was one. A name that does not exist renders as empty.

The setting is read here and not through `Settings`: an invalid notifier must not stop the stream
from being restarted, and other invalid settings must not stop alerts about failed runs.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from imagen_ops.alerts.time_limit import run_within
from imagen_ops.settings import PREFIX, value_of

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier

SETTING = f"{PREFIX}NOTIFIER"
EXAMPLE = (
    '{"class": "airflow.providers.smtp.notifications.smtp.SmtpNotifier", "kwargs": {"to": '
    '"ops@example.com", "subject": "{{ event }}", "html_content": "{{ text | e }}"}}'
)
# The task or callback waits for it. A callback has less than a minute in all.
TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


class NotifierError(ValueError):
    """The setting does not name a usable notifier. The message says how to fix it.

    It never quotes the kwargs, because they may hold a token.
    """


@dataclass(frozen=True)
class NotifierSpec:
    """A notifier class and its constructor's keyword arguments.

    Args:
        path: the dotted path of the class.
        kwargs: may hold secrets, so the repr leaves them out.
    """

    path: str
    kwargs: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, setting: str) -> Self:
        """Return the notifier that the value of the setting names.

        Raises:
            NotifierError: the value is malformed.
        """
        try:
            value = json.loads(setting)
        except (ValueError, RecursionError) as error:
            raise NotifierError(
                f"{SETTING}: expected JSON such as {EXAMPLE}, got {len(setting)} characters of "
                f"invalid JSON: {error}"
            ) from None
        if not isinstance(value, dict):
            raise NotifierError(
                f"{SETTING}: expected a JSON object such as {EXAMPLE}, got {type(value).__name__}"
            )
        path, kwargs = value.get("class"), value.get("kwargs", {})
        if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
            raise NotifierError(
                f'{SETTING}: expected a dotted path as "class", as in {EXAMPLE}, got {path!r}'
            )
        if "." not in path:
            raise NotifierError(
                f'{SETTING}: expected a dotted path with a module as "class", as in {EXAMPLE}, '
                f"got {path!r}"
            )
        if not isinstance(kwargs, dict):
            raise NotifierError(
                f'{SETTING}: expected a JSON object as "kwargs", got {type(kwargs).__name__}'
            )
        if unknown := sorted(value.keys() - {"class", "kwargs"}):
            raise NotifierError(
                f'{SETTING}: expected only "class" and "kwargs", also got {", ".join(unknown)}'
            )
        return cls(path, kwargs)

    def build(self) -> "BaseNotifier":
        """Create the notifier.

        Raises:
            NotifierError: the class does not exist, is not a notifier, cannot be used from a
                callback, or does not accept the kwargs.
        """
        from airflow.sdk import BaseNotifier

        module, _, name = self.path.rpartition(".")
        try:
            notifier_class = getattr(import_module(module), name)
        except Exception as error:  # importing a module can raise anything
            raise NotifierError(
                f"{SETTING}: {self.path} cannot be imported ({type(error).__name__}: {error}): "
                "check the path, and that its provider is among the environment's PyPI packages"
            ) from error
        if not (isinstance(notifier_class, type) and issubclass(notifier_class, BaseNotifier)):
            raise NotifierError(
                f"{SETTING}: expected a subclass of Airflow's BaseNotifier, got {self.path}"
            )
        if notifier_class.notify is BaseNotifier.notify:
            raise NotifierError(
                f"{SETTING}: {self.path} can only notify asynchronously, and the DAG processor "
                "runs callbacks synchronously: use another notifier"
            )
        try:
            return notifier_class(**self.kwargs)
        except Exception as error:
            raise NotifierError(
                f"{SETTING}: {self.path} does not accept the kwargs "
                f"{', '.join(sorted(self.kwargs)) or 'none'}: {error}"
            ) from error


def notify(
    content: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Send an alert through the notifier, if the setting names one.

    Never raises, and returns after about `TIMEOUT_S` at the latest. Failures are logged as errors
    that say how to fix them.

    Args:
        content: the alert's fields, for templates. They take precedence over the context's.
        context: the Airflow context, for templates. It is not modified.
        environment: the variables that hold the setting; None: those of the deployment.

    Returns:
        Whether the alert was sent.
    """
    setting = value_of(SETTING) if environment is None else environment.get(SETTING, "").strip()
    if not setting:
        return False
    try:
        run_within(TIMEOUT_S, lambda: _send(NotifierSpec.parse(setting), content, context or {}))
    except NotifierError as error:
        _log.error("the alert %s was not sent. %s", content.get("event"), error)
    except TimeoutError as error:
        _log.error(
            "the alert %s may not have been sent: the notifier in %s %s. Check its server and its "
            "Airflow connection",
            content.get("event"),
            SETTING,
            error,
        )
    except Exception:
        _log.exception(
            "the alert %s was not sent: the notifier in %s failed with the error below. Check its "
            "kwargs and its Airflow connection",
            content.get("event"),
            SETTING,
        )
    else:
        return True
    return False


def _send(spec: NotifierSpec, content: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    notifier = spec.build()
    # Like BaseNotifier.__call__, but in another order. There, a notifier's own fields hide the
    # context's, so `{{ text }}` would not work for a notifier with a field `text`, such as Slack's.
    fields = {name: getattr(notifier, name, None) for name in notifier.template_fields}
    merged: Any = {**fields, **context, **content}
    # Not the DAG's environment: it rejects undefined names, and alerts differ in their fields.
    notifier.render_template_fields(merged, notifier.get_template_env())
    notifier.notify(merged)
