"""Which objects a glob names, in Beam's language: a plan must see the files that the job will read.

Cloud Storage's own `matchGlob` differs: there `{a,b}` is a choice, `?` stops at slashes, and a
backslash quotes. So it narrows a listing only where both say the same.
"""

import dataclasses
import functools
import re
from typing import Self

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_WILDCARD = re.compile(r"[*?\[]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_EXPECTED = (
    "expected files in a folder of a bucket, such as gs://my-bucket/prompts/ds=2026-11-01/* "
    "(* and ? and [abc] within a folder, ** across folders)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class PromptGlob:
    """A bucket, and a pattern for the names of objects in it."""

    bucket: str
    pattern: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read gs://BUCKET/PATTERN. As for Beam, one that ends in a slash means all below it.

        Raises:
            ValueError: it is none; says what is wrong, and what was expected.
        """
        url = url.strip()
        bucket, _, pattern = url.removeprefix("gs://").partition("/")
        if not url.startswith("gs://"):
            raise _wrong(url, "it does not begin with gs://")
        if not _BUCKET.fullmatch(bucket):
            raise _wrong(url, "no bucket has such a name")
        if _CONTROL.search(pattern):
            raise _wrong(url, "it has a control character in it")
        if any(part in (".", "..") for part in pattern.split("/")):
            raise _wrong(url, "names of objects are taken as they are, without . and ..")
        if pattern.endswith("/"):
            pattern += "*"
        glob = cls(bucket, pattern)
        if not glob.prefix:
            raise _wrong(url, "without a folder before the first wildcard it is the whole bucket")
        try:
            _compiled(pattern)
        except re.error as error:
            raise _wrong(url, f"a bracket in it makes no sense ({error})") from None
        return glob

    @property
    def url(self) -> str:
        """The whole glob."""
        return self.url_of(self.pattern)

    @property
    def prefix(self) -> str:
        """What all names begin with: the pattern up to its first wildcard."""
        return _WILDCARD.split(self.pattern, maxsplit=1)[0]

    @property
    def one_name(self) -> bool:
        """Whether it has no wildcard."""
        return self.prefix == self.pattern

    @property
    def for_storage(self) -> str | None:
        """The pattern for `matchGlob`, or None where that would leave out what Beam finds."""
        differs = self.one_name or "**" in self.pattern or re.search(r"[?\[\]{}\\]", self.pattern)
        return None if differs else self.pattern

    def matches(self, name: str) -> bool:
        """Whether the job will read the object `name`."""
        return _compiled(self.pattern).fullmatch(name) is not None

    def url_of(self, name: str) -> str:
        """Return an object's path as the job knows it."""
        return f"gs://{self.bucket}/{name}"


def _wrong(url: str, what: str) -> ValueError:
    return ValueError(f"prompts: {what}; {_EXPECTED}, got {ascii(url)[:300]}")


@functools.lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Translate as `apache_beam.io.filesystem.FileSystem.translate_pattern` does."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern.startswith("*", at):
            out.append(".*")
            at += 1
        elif char == "*":
            out.append(r"[^/\\]*")
        elif char == "?":
            out.append(".")
        elif char == "[" and (end := _end_of_class(pattern, at)):
            members = pattern[at:end].replace("\\", "\\\\")
            if members[0] == "!":
                members = "^" + members[1:]
            elif members[0] == "^":
                members = "\\" + members
            out.append(f"[{members}]")
            at = end + 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.MULTILINE | re.DOTALL)


def _end_of_class(pattern: str, at: int) -> int | None:
    """Return where the bracket that ends a class is; a class may begin with `]`."""
    if pattern.startswith("!", at):
        at += 1
    if pattern.startswith("]", at):
        at += 1
    end = pattern.find("]", at)
    return None if end < 0 else end
