"""Which files a glob matches, by Beam's rules: a plan must see the files that the job will read.

Cloud Storage's own `matchGlob` differs: there `{a,b}` is an alternative, `?` does not match a
slash, and a backslash escapes. So it narrows a listing only where both rules agree.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Self

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_WILDCARD = re.compile(r"[*?\[]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_EXPECTED = (
    "expected files in a folder of a bucket, such as gs://my-bucket/prompts/ds=2026-11-01/* "
    "(wildcards: * within a folder, ** across folders, ? and [abc] for one character; [[], [*] and "
    "[?] stand for those characters themselves)"
)


class GlobError(ValueError):
    """A glob is malformed, or does not mean what it seems to. Says what to write instead."""


def refuse_if_ambiguous(path: str, exists: Callable[[], bool]) -> None:
    """Check that a glob does not pass over a file that has the glob's own text as its name.

    A path with brackets always is a glob for Beam: `x[1].txt` reads `x1.txt`, even where there is a
    file called `x[1].txt`. Whoever writes it there means that file.

    Args:
        path: a local path or `gs://` URL, which may have wildcards.
        exists: looks whether there is a file of exactly this name; called only if the glob would
            not match it.

    Raises:
        GlobError: there is such a file, or the brackets in the glob are not valid.
    """
    pattern = path.removeprefix("gs://").partition("/")[2] if path.startswith("gs://") else path
    if not _WILDCARD.search(pattern):
        return
    try:
        if _compiled(pattern).fullmatch(pattern) or not exists():
            return
    except re.error as error:
        raise GlobError(f"its brackets are not valid ({error})") from None
    quoted = path.removesuffix(pattern) + _WILDCARD.sub(r"[\g<0>]", pattern)
    raise GlobError(
        f"there is a file with exactly this name, which the wildcards in it do not match; for that "
        f"file, write {quoted}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class PromptGlob:
    """A bucket and a pattern for the object names in it."""

    bucket: str
    pattern: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read gs://BUCKET/PATTERN. A trailing slash means all files in that folder, as in Beam.

        Raises:
            GlobError: `url` is not such a glob; says what is wrong and what was expected.
        """
        url = url.strip()
        bucket, _, pattern = url.removeprefix("gs://").partition("/")
        if not url.startswith("gs://"):
            raise _malformed(url, "it does not begin with gs://")
        if not _BUCKET.fullmatch(bucket):
            raise _malformed(url, "its bucket name is not valid")
        if _CONTROL.search(pattern):
            raise _malformed(url, "it contains a control character")
        if any(part in (".", "..") for part in pattern.split("/")):
            raise _malformed(
                url, "it must not have . or .. as a folder, because object names are literal"
            )
        glob = cls(bucket, whole_folder(pattern))
        if not glob.prefix:
            raise _malformed(
                url, "it matches the whole bucket, so name a folder before the first wildcard"
            )
        try:
            _compiled(glob.pattern)
        except re.error as error:
            raise _malformed(url, f"its brackets are not valid ({error})") from None
        return glob

    @property
    def url(self) -> str:
        """The whole glob."""
        return self.object_url(self.pattern)

    @property
    def prefix(self) -> str:
        """What every matching name begins with: the pattern up to its first wildcard."""
        return _WILDCARD.split(self.pattern, maxsplit=1)[0]

    @property
    def is_one_object(self) -> bool:
        """Whether it has no wildcard."""
        return self.prefix == self.pattern

    @property
    def storage_pattern(self) -> str | None:
        """The pattern for `matchGlob`, or None if it would leave out objects that Beam matches."""
        differs = (
            self.is_one_object or "**" in self.pattern or re.search(r"[?\[\]{}\\]", self.pattern)
        )
        return None if differs else self.pattern

    def matches(self, name: str) -> bool:
        """Whether the job will read the object `name`."""
        return _compiled(self.pattern).fullmatch(name) is not None

    def object_url(self, name: str) -> str:
        """Return the gs:// URL of an object in the bucket, as the job knows it."""
        return f"gs://{self.bucket}/{name}"


def whole_folder(pattern: str) -> str:
    """Return a glob for the files in a folder, if `pattern` ends as a folder does for Beam."""
    return f"{pattern}*" if pattern.endswith(("/", "\\")) else pattern


def _malformed(url: str, problem: str) -> GlobError:
    return GlobError(f"prompts: {problem}; {_EXPECTED}, got {ascii(url)[:300]}")


@functools.lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Translate a pattern as `apache_beam.io.filesystem.FileSystem.translate_pattern` does."""
    regex: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern.startswith("*", position):
            regex.append(".*")
            position += 1
        elif char == "*":
            regex.append(r"[^/\\]*")
        elif char == "?":
            regex.append(".")
        elif char == "[" and (end := _class_end(pattern, position)):
            members = pattern[position:end].replace("\\", "\\\\")
            # Python warns of a bracket within brackets, which may be a set one day.
            members = members.replace("[", "\\[")
            if members[0] == "!":
                members = "^" + members[1:]
            elif members[0] == "^":
                members = "\\" + members
            regex.append(f"[{members}]")
            position = end + 1
        else:
            regex.append(re.escape(char))
    return re.compile("".join(regex), re.MULTILINE | re.DOTALL)


def _class_end(pattern: str, position: int) -> int | None:
    """Return the position of the bracket that closes a class; `]` may be its first member."""
    if pattern.startswith("!", position):
        position += 1
    if pattern.startswith("]", position):
        position += 1
    end = pattern.find("]", position)
    return None if end < 0 else end
