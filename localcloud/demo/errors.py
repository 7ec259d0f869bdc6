"""The demo's error, and how any error is shortened to one line."""

import re

_MAX_CHARS = 400
# The last line of a traceback: the exception's type, qualified or not, and its message.
_EXCEPTION = re.compile(r"([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Exit|Interrupt): .")


class DemoError(RuntimeError):
    """The demo did not work as it should."""


def one_line(error: BaseException) -> str:
    """Return an error as one line: what failed, and why.

    What failed is the message's first line. Why is its last line that names an exception, or else
    its last line: the report of a failed DAG run ends with what the task logged as it shut down.
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    what, *details = lines
    if not details:
        return _truncated(what)
    why = next((line for line in reversed(details) if _EXCEPTION.match(line)), details[-1])
    return _truncated(f"{what.rstrip(':')}: {why}")


def _truncated(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
