"""Alerts: a structured log line, and a message through the notifier that the settings name.

The log message is one JSON object, `imagen.alert/1`, in ASCII and without line breaks. Airflow
wraps the messages of tasks and callbacks in lines of its own: text after a time and a level, or
JSON that holds the message as a string. Only a filter on a phrase without quotes matches all of
them, because Cloud Logging searches every field for it: `"imagen.alert/1:run_failed"`, the value of
the field `match`. Nothing from outside can write it: `beam_jobs.shown` breaks it in names and
values, and here it is broken in every other field.

Alerts of tasks are in the task's log and in the worker's output. Alerts of a DAG's callbacks are in
the DAG processor's output if `[logging] dag_processor_log_target` is `stdout`, and otherwise only
in its log folder.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from beam_jobs.shown import ALERT_MARK, shown_value
from imagen_ops.alerts.notifiers import notify
from imagen_ops.settings import value_of

_log = logging.getLogger("imagen.alerts")
SCHEMA = f"{ALERT_MARK}1"
# Where the project has it, for a deployment that does not say where its people read it.
RUNBOOK = "docs/runbook.md"


def alert(
    event: str, text: str, *, context: Mapping[str, Any] | None = None, **fields: Any
) -> None:
    """Log an alert, then send it through the notifier. A failure of the notifier is logged.

    Args:
        event: what happened, such as `stream_verdict`. Alert policies filter on `match`, which
            has it.
        text: one line for people.
        context: the Airflow context for the notifier's templates. Default: that of the running
            task, if any.
        fields: further JSON values to filter on.
    """
    content = shown_value(
        json.loads(json.dumps({"event": event, "text": text, **fields}, default=str))
    )
    # Each event has a section of its name, or an anchor before that of its alert.
    runbook = f"{value_of('IMAGEN_RUNBOOK_URL', RUNBOOK)}#{event}"
    content = {"schema": SCHEMA, **content, "runbook": runbook, "match": f"{SCHEMA}:{event}"}
    _log.warning("%s", json.dumps(content))
    notify(content, _current_context() if context is None else context)


def _current_context() -> Mapping[str, Any]:
    from airflow.sdk import get_current_context

    try:
        context: Mapping[str, Any] = get_current_context()
    except RuntimeError:  # no task is running
        return {}
    return context
