"""One structured log line for whatever somebody should look at: what alert policies match on."""

import json
import logging
from typing import Any

_log = logging.getLogger("imagen.alerts")
SCHEMA = "imagen.alert/1"


def alert(event: str, text: str, **fields: Any) -> None:
    """Write the line.

    Args:
        event: what happened, such as `stream_verdict`; alert policies filter on it.
        text: for people, in one line.
        fields: more to filter on; JSON values.
    """
    content = {"schema": SCHEMA, "event": event, "text": text, **fields}
    _log.warning("%s", json.dumps(content, default=str))
