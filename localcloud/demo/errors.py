"""What the demo raises, and how anything that goes wrong is told in one line."""

import re

_MAX_CHARS = 400
# As the last line of a trace has it: a type, whole or short, and what it says.
_EXCEPTION = re.compile(r"([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Exit|Interrupt): .")


class DemoError(RuntimeError):
    """The demo did not show what it is there to show."""


def one_line(error: BaseException) -> str:
    """Return an error in one line: what failed, which is its first, and why.

    Why is the last line of a longer one that names an exception, or else the last. An account of
    a failed DAG run goes on after it with what the task logged as it ended.
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    what, *account = lines
    if not account:
        return _cut(what)
    why = next((line for line in reversed(account) if _EXCEPTION.match(line)), account[-1])
    return _cut(f"{what.rstrip(':')}: {why}")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
