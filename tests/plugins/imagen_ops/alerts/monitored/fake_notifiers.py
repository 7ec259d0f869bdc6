"""Notifiers that write alerts to a file, or that fail in one way each."""

import json
import time
from typing import Any

from airflow.sdk import BaseNotifier


class FileNotifier(BaseNotifier):
    """Append each alert to a file, as a line of JSON.

    Its template field `text` has the same name as a field of the alert.
    """

    template_fields = ("text", "where")

    def __init__(self, file: str, text: str = "{{ text }}", where: Any = None) -> None:
        super().__init__()
        self.file = file
        self.text = text
        self.where = where

    def notify(self, context: Any) -> None:
        """Write the alert."""
        line = {"event": context["event"], "text": self.text, "where": self.where}
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class FailingNotifier(FileNotifier):
    """Cannot reach its server."""

    def notify(self, context: Any) -> None:
        """Fail."""
        raise ConnectionRefusedError("the server refuses connections")


class ExitingNotifier(FileNotifier):
    """Tries to end the process."""

    def notify(self, context: Any) -> None:
        """Exit."""
        raise SystemExit(1)


class SlowNotifier(FileNotifier):
    """Takes longer than its time limit."""

    def notify(self, context: Any) -> None:
        """Wait for 5 s."""
        time.sleep(5)


class AsynchronousNotifier(BaseNotifier):
    """Can only be awaited."""

    async def async_notify(self, context: Any) -> None:
        """Do nothing."""


class UncreatableNotifier(BaseNotifier):
    """Raises in its constructor."""

    def __init__(self, token: str) -> None:
        raise RuntimeError("the constructor failed")

    def notify(self, context: Any) -> None:
        """Do nothing."""


def function(context: Any) -> None:
    """Is not a notifier."""
