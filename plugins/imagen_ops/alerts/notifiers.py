"""Alerts sent to people, through whatever notifier of an Airflow provider the deployment names.

`IMAGEN_NOTIFIER` is JSON, `{"class": "airflow.providers.….SomeNotifier", "kwargs": {…}}`: any
subclass of Airflow's BaseNotifier, of any provider that is installed. Which of its kwargs are
templates is the notifier's business; they may use the alert's `{{ text }}`, `{{ event }}` and other
fields, and what of Airflow's context there is: all of a task's in a task, and at the end of a run
that of the task which decided it, if one did. A name that is not there is empty.

Read here, not through `Settings`: a notifier that is wrong must not keep the stream from being
started again, and settings that are wrong must not keep people from hearing that runs fail.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from imagen_ops.alerts.time_limit import within
from imagen_ops.settings import PREFIX

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier

VARIABLE = f"{PREFIX}NOTIFIER"
EXAMPLE = (
    '{"class": "airflow.providers.smtp.notifications.smtp.SmtpNotifier", "kwargs": {"to": '
    '"ops@example.com", "subject": "{{ event }}", "html_content": "{{ text | e }}"}}'
)
# A task or a callback waits meanwhile; a callback has less than a minute for everything.
LIMIT_S = 10.0

_log = logging.getLogger(__name__)


class NotifierError(ValueError):
    """The setting names no notifier that can be used; the message says what to do about it.

    It never quotes the kwargs: they may hold a token.
    """


@dataclass(frozen=True)
class NotifierSpec:
    """Which notifier, and what it is made with."""

    path: str
    kwargs: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, setting: str) -> Self:
        """Read the setting's value.

        Raises:
            NotifierError: it is malformed.
        """
        try:
            given = json.loads(setting)
        except (ValueError, RecursionError) as error:
            raise NotifierError(
                f"{VARIABLE}: expected JSON such as {EXAMPLE}, got {len(setting)} characters that "
                f"are none: {error}"
            ) from None
        if not isinstance(given, dict):
            raise NotifierError(
                f"{VARIABLE}: expected an object such as {EXAMPLE}, got {type(given).__name__}"
            )
        path, kwargs = given.get("class"), given.get("kwargs", {})
        if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
            raise NotifierError(
                f'{VARIABLE}: expected as "class" a dotted path such as in {EXAMPLE}, got {path!r}'
            )
        if "." not in path:
            raise NotifierError(f'{VARIABLE}: "class" {path!r} names no module; see {EXAMPLE}')
        if not isinstance(kwargs, dict):
            raise NotifierError(
                f'{VARIABLE}: expected as "kwargs" an object, got {type(kwargs).__name__}'
            )
        if unknown := sorted(given.keys() - {"class", "kwargs"}):
            raise NotifierError(
                f'{VARIABLE}: expected "class" and "kwargs" only, got also {unknown}'
            )
        return cls(path, kwargs)

    def build(self) -> "BaseNotifier":
        """Make the notifier.

        Raises:
            NotifierError: there is no such class, it is no notifier, it cannot be used from a
                callback, or it refuses the kwargs.
        """
        from airflow.sdk import BaseNotifier

        module, _, name = self.path.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except Exception as error:  # whatever a module may do when it is imported
            raise NotifierError(
                f"{VARIABLE}: {self.path} cannot be imported ({error!r}): check the path, and that "
                "its provider is among the environment's PyPI packages"
            ) from error
        if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
            raise NotifierError(
                f"{VARIABLE}: expected a subclass of Airflow's BaseNotifier, got {self.path}"
            )
        if found.notify is BaseNotifier.notify:
            raise NotifierError(
                f"{VARIABLE}: {self.path} can only notify asynchronously, and callbacks run in "
                "the DAG processor, which is not: take another"
            )
        try:
            return found(**self.kwargs)
        except Exception as error:
            raise NotifierError(
                f"{VARIABLE}: {self.path} does not take the kwargs {sorted(self.kwargs)}: {error}"
            ) from error


def notify(
    content: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Send an alert, if a notifier is named; whether it was sent.

    Never raises, and comes back after about `LIMIT_S` at the latest: what goes wrong is logged as
    an error that says what to mend.

    Args:
        content: the alert's fields, for templates; they go before Airflow's of the same name.
        context: Airflow's; it is left as it is.
        environment: where the setting is.
    """
    setting = environment.get(VARIABLE, "").strip()
    if not setting:
        return False
    try:
        within(LIMIT_S, lambda: _send(NotifierSpec.of(setting), content, context or {}))
    except NotifierError as error:
        _log.error("the alert %s was not sent. %s", content.get("event"), error)
    except TimeoutError as error:
        _log.error(
            "the alert %s may not have been sent: the notifier of %s was %s; look at its server "
            "and its Airflow connection",
            content.get("event"),
            VARIABLE,
            error,
        )
    except Exception:
        _log.exception(
            "the alert %s was not sent: the notifier of %s failed, for the reason below; look at "
            "its kwargs and its Airflow connection",
            content.get("event"),
            VARIABLE,
        )
    else:
        return True
    return False


def _send(spec: NotifierSpec, content: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    notifier = spec.build()
    # As BaseNotifier.__call__ does, but in another order: it lets a notifier's own fields hide the
    # context's, so that one with a field `text`, as Slack's has, could not be given `{{ text }}`.
    fields = {name: getattr(notifier, name, None) for name in notifier.template_fields}
    merged: Any = {**fields, **context, **content}
    # Not the DAG's: it refuses names that are not there, and not every alert has every field.
    notifier.render_template_fields(merged, notifier.get_template_env())
    notifier.notify(merged)
