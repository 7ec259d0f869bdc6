"""Numbers formatted for people on call: `12 min`, `3,400 messages`, `12%`."""

import itertools

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# A longer duration is an error in the data. Its digits would tell the reader nothing.
_MAX_DURATION_S = 10_000 * 86_400


def duration(seconds: float) -> str:
    """Return `seconds` in its two largest units, rounded down: `45 s`, `12 min`, `3 h 20 min`.

    Below 10 s the result has one decimal (`1.6 s`). A negative duration becomes `0 s`.
    """
    if seconds >= _MAX_DURATION_S:
        return "over 10,000 d"
    if seconds < 10:
        return f"{max(seconds, 0):.1f}".removesuffix(".0") + " s"
    whole = int(seconds)
    for (size, unit), (smaller_size, smaller_unit) in itertools.pairwise(_UNITS):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def count(number: float, noun: str) -> str:
    """Return `number` with its noun: `1 message`, `3,400 messages`."""
    return f"{number:,.0f} {noun}" + ("" if round(number) == 1 else "s")


def percentage(ratio: float) -> str:
    """Return a ratio as a percentage with at most three significant digits: `12.3%`, `100%`."""
    return f"{100 * ratio:.3g}%"


def quote(text: str, max_chars: int = 300) -> str:
    """Return `text` on one line, shortened to `max_chars` characters."""
    line = " ".join(text.split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"
