"""Numbers as people on call read them: `12 min`, `3,400 messages`, `12%`."""

import itertools

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# Beyond this a number of seconds is an accident, and its digits tell nothing.
_LONGEST_S = 10_000 * 86_400


def duration(seconds: float) -> str:
    """Return `seconds` in its two largest units, rounded down: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds >= _LONGEST_S:
        return "over 10,000 d"
    if seconds < 10:
        return f"{max(seconds, 0):.1f}".removesuffix(".0") + " s"
    left = int(seconds)
    for (size, unit), (smaller, smaller_unit) in itertools.pairwise(_UNITS):
        if left >= size:
            rest = left % size // smaller
            return f"{left // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{left} s"


def count(number: float, noun: str) -> str:
    """Return `number` with its noun: `1 message`, `3,400 messages`."""
    return f"{number:,.0f} {noun}" + ("" if round(number) == 1 else "s")


def share(ratio: float) -> str:
    """Return a ratio as a percentage of three digits at most: `12.3%`, `100%`."""
    return f"{100 * ratio:.3g}%"


def quote(text: str, most: int = 300) -> str:
    """Return `text` on one line, cut to `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
