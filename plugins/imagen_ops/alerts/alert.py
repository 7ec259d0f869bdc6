"""What somebody should look at: a structured log line, and word to whoever the settings name.

The line's message is one JSON object, `imagen.alert/1`, without line breaks and in ASCII. Airflow
wraps the messages of tasks and callbacks in lines of its own: text with time and level in front, or
JSON with the message as a string. So what matches it everywhere is a filter on words, which Cloud
Logging looks for in every field: `"imagen.alert/1" "run_failed"`.

Lines of tasks are in the task's log and on the worker's output; those of a DAG's callbacks come out
of the DAG processor, on its output if `[logging] dag_processor_log_target` is `stdout`, else only
in its folder of logs.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from imagen_ops.alerts.notifiers import notify

_log = logging.getLogger("imagen.alerts")
SCHEMA = "imagen.alert/1"


def alert(
    event: str, text: str, *, context: Mapping[str, Any] | None = None, **fields: Any
) -> None:
    """Write the line, then send the alert through the notifier; that one's failures are logged.

    Args:
        event: what happened, such as `stream_verdict`; alert policies filter on it.
        text: for people, in one line.
        context: Airflow's, for the notifier's templates; default: the running task's, if any.
        fields: more to filter on; JSON values.
    """
    content = {"schema": SCHEMA, "event": event, "text": text, **fields}
    _log.warning("%s", json.dumps(content, default=str))
    notify(content, _current() if context is None else context)


def _current() -> Mapping[str, Any]:
    from airflow.sdk import get_current_context

    try:
        found: Mapping[str, Any] = get_current_context()
    except RuntimeError:  # no task runs
        return {}
    return found
