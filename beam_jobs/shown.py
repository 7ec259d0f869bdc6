"""Names and values from outside, made safe to show: in logs, errors, records, and alerts.

Whoever names an object, a prompt file, or an id must not be able to write lines into a log, to
turn text around, or to make a line that looks like an alert.
"""

import re
import unicodedata
from typing import Any

# What marks an alert line (`imagen_ops.alerts.alert`), however it is written.
ALERT_MARK = "imagen.alert/"
_MARK = re.compile(re.escape(ALERT_MARK), re.IGNORECASE)
# Control, format (such as those that turn text around), lone surrogates, private use, unassigned,
# and line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Persian, the scripts of India, and many emoji are written with them. In a name they can hide.
_JOINERS = re.compile("([\u200c\u200d])")


def shown(text: str, length: int | None = None) -> str:
    r"""Return `text` on one line, with what cannot be seen escaped as in Python: `\n`, `\u2028`.

    The mark of alerts is broken, so that no name can raise one.

    Args:
        text: from outside.
        length: maximum number of characters; None: as long as it is.
    """
    safe = text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))
    safe = _MARK.sub(lambda mark: mark[0].replace("/", r"\x2f"), safe)
    return safe if length is None or len(safe) <= length else f"{safe[: length - 1]}…"


def shown_words(text: str, length: int | None = None) -> str:
    """As `shown`, but with the joiners of scripts and emoji: for a person's words, not a name."""
    parts = _JOINERS.split(text if length is None else text[: length + 1])
    safe = "".join(part if _JOINERS.fullmatch(part) else shown(part) for part in parts)
    return safe if length is None or len(safe) <= length else f"{safe[: length - 1]}…"


def is_safe(text: str) -> bool:
    """Tell whether `shown` leaves a text as it is."""
    return shown(text) == text


def shown_value(value: Any) -> Any:
    """Return a JSON value in which the mark of alerts is broken wherever a string has it.

    Everything else stays as it is: JSON escapes what a line must not have.
    """
    if isinstance(value, str):
        return _MARK.sub(lambda mark: mark[0].replace("/", r"\x2f"), value)
    if isinstance(value, dict):
        return {shown_value(name): shown_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown_value(item) for item in value]
    return value


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in _UNSAFE:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
