"""Matches object names with a glob, by Beam's rules but never by backtracking.

Beam translates a glob into a regular expression, with which Python tries every way in which several
wildcards can share a name: seconds for one name. Here each character of a name is looked at once.
"""

import functools
import re
from collections.abc import Iterator

_IN_A_FOLDER = re.compile(r"[^/\\]")
_ANYTHING = re.compile(r".", re.DOTALL)


class Matcher:
    """Tells which names a pattern matches.

    Takes time in proportion to the name, times the pattern in units of a machine word.

    Args:
        pattern: as in `apache_beam.io.filesystem.FileSystem.translate_pattern`.

    Raises:
        re.error: the brackets in the pattern are not valid.
    """

    def __init__(self, pattern: str) -> None:
        self._parts = list(_parts(pattern))
        self._stars = _bits(star for _, star in self._parts)
        self._by_char = functools.lru_cache(maxsize=4096)(self._steps)

    def matches(self, name: str) -> bool:
        """Tell whether the pattern matches the whole name."""
        # Bit n is set if the first n parts can match what has been read of the name.
        states = self._past_stars(1)
        for char in name:
            consumed, stayed = self._by_char(char)
            states = self._past_stars((states & consumed) << 1 | states & stayed)
            if not states:
                return False
        return bool(states >> len(self._parts) & 1)

    def _steps(self, char: str) -> tuple[int, int]:
        """Return which parts match `char`: those that match one character, and the wildcards."""
        matching = [part.match(char) is not None for part, _ in self._parts]
        every = _bits(matching)
        return every & ~self._stars, every & self._stars

    def _past_stars(self, states: int) -> int:
        """Add the states after wildcards that match nothing."""
        while (more := states | (states & self._stars) << 1) != states:
            states = more
        return states


@functools.lru_cache(maxsize=8)
def matcher(pattern: str) -> Matcher:
    """Return the matcher of a pattern.

    Raises:
        re.error: the brackets in the pattern are not valid.
    """
    return Matcher(pattern)


def _parts(pattern: str) -> Iterator[tuple[re.Pattern[str], bool]]:
    """Yield what matches one character each, and whether it matches any number of them."""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern.startswith("*", position):
            yield _ANYTHING, True
            position += 1
        elif char == "*":
            yield _IN_A_FOLDER, True
        elif char == "?":
            yield _ANYTHING, False
        elif char == "[" and (end := _class_end(pattern, position)):
            members = pattern[position:end].replace("\\", "\\\\")
            # Python warns of a bracket within brackets, which may be a set one day.
            members = members.replace("[", "\\[")
            if members[0] == "!":
                members = "^" + members[1:]
            elif members[0] == "^":
                members = "\\" + members
            yield re.compile(f"[{members}]"), False
            position = end + 1
        else:
            yield re.compile(re.escape(char)), False


def _class_end(pattern: str, position: int) -> int | None:
    """Return the position of the bracket that closes a class; `]` may be its first member."""
    if pattern.startswith("!", position):
        position += 1
    if pattern.startswith("]", position):
        position += 1
    end = pattern.find("]", position)
    return None if end < 0 else end


def _bits(flags: Iterator[bool] | list[bool]) -> int:
    return sum(1 << n for n, flag in enumerate(flags) if flag)
