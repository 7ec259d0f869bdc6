"""Notifiers that write down what they are given, or cannot."""

import json
import time
from typing import Any

from airflow.sdk import BaseNotifier


class Gossip(BaseNotifier):
    """Append a line of JSON to a file. Its field `text` is called as an alert's is."""

    template_fields = ("text", "where")

    def __init__(self, file: str, text: str = "{{ text }}", where: Any = None) -> None:
        super().__init__()
        self.file = file
        self.text = text
        self.where = where

    def notify(self, context: Any) -> None:
        """Write it down."""
        line = {"event": context["event"], "text": self.text, "where": self.where}
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Broken(Gossip):
    """Has no connection."""

    def notify(self, context: Any) -> None:
        """Fail."""
        raise ConnectionRefusedError("nobody listens")


class Leaving(Gossip):
    """Takes itself too seriously."""

    def notify(self, context: Any) -> None:
        """End the process."""
        raise SystemExit(1)


class Slow(Gossip):
    """Takes its time."""

    def notify(self, context: Any) -> None:
        """Be late."""
        time.sleep(5)


class Asynchronous(BaseNotifier):
    """Can only be awaited."""

    async def async_notify(self, context: Any) -> None:
        """Do nothing."""


class Unwilling(BaseNotifier):
    """Cannot be made."""

    def __init__(self, token: str) -> None:
        raise RuntimeError("not today")

    def notify(self, context: Any) -> None:
        """Do nothing."""


def function(context: Any) -> None:
    """No notifier at all."""
