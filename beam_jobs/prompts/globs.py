"""Which files a glob matches, by Beam's rules: a plan must see the files that the job will read.

Cloud Storage's own `matchGlob` differs: there `{a,b}` is an alternative, `?` does not match a
slash, and a backslash escapes. So it narrows a listing only where both rules agree.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from beam_jobs.prompts.matching import matcher
from beam_jobs.shown import shown

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_WILDCARD = re.compile(r"[*?\[]")
# One character of a few. The first one may be a bracket itself.
_CLASS = re.compile(r"\[!?+\]?+[^\]]*+\]")
_LITERALS = {"[[]": "[", "[*]": "*", "[?]": "?"}
_PREFIX = re.compile(r"(?:[^*?\[]|\[[\[*?]\])*")
_STARS = re.compile(r"\*\*?")
# As long as the longest name of an object, in bytes.
MAX_CHARACTERS = 1024
MAX_STARS = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_EXPECTED = (
    "expected files in a folder of a bucket, such as gs://my-bucket/prompts/ds=2026-11-01/* "
    "(wildcards: * within a folder, ** across folders, ? and [abc] for one character; [[], [*] and "
    "[?] stand for those characters themselves)"
)


class GlobError(ValueError):
    """A glob is malformed, or does not mean what it seems to. Says what to write instead."""


def too_costly(path: str) -> str | None:
    """Say why Beam could take too long to match names with a glob; None if it could not.

    Beam's regular expressions try every way in which wildcards can share a name. Within these
    bounds they take some milliseconds for the longest name; with one wildcard more, seconds.

    Args:
        path: a local path or `gs://` URL, which may have wildcards.
    """
    if len(path) > MAX_CHARACTERS:
        return f"it has {len(path):,} characters, and the maximum is {MAX_CHARACTERS:,}"
    # In brackets, an asterisk is one of the characters that match.
    names = [_STARS.findall(name) for name in _CLASS.sub("x", path).split("/")]
    stars = [star for name in names for star in name]
    if len(stars) > MAX_STARS:
        return f"it has {len(stars)} wildcards * and **, and the maximum is {MAX_STARS}"
    if "**" in stars and len(stars) > 2:
        return f"it has {len(stars)} wildcards * and **, and beside a ** there can be only one"
    if sum(max(0, len(name) - 1) for name in names) > 1:
        return (
            "it has too many wildcards * in one name: there can be two in the name of one folder "
            "or file, and one in each of the others"
        )
    return None


def refuse_if_ambiguous(path: str, matches: Callable[[str], Iterable[str]]) -> None:
    """Check that a glob does not pass over files whose names have its wildcards in them.

    Brackets always are a glob for Beam: `run[1]/*` reads the folder `run1`, even where there is a
    folder called `run[1]`. Whoever writes it there means that folder.

    Args:
        path: a local path or `gs://` URL, which may have wildcards.
        matches: looks for files of another glob, in the same form as `path`; may leave some out.
            Called only if `path` has wildcards that can stand for themselves.

    Raises:
        GlobError: there are such files, or the brackets in the glob are not valid.
    """
    path = whole_folder(path)
    bucket, slash, pattern = (
        path.removeprefix("gs://").partition("/") if path.startswith("gs://") else ("", "", path)
    )
    root = f"gs://{bucket}{slash}" if bucket else ""
    try:
        compiled = matcher(pattern)
    except re.error as error:
        raise GlobError(f"its brackets are not valid ({error})") from None
    for literal in _with_literal_wildcards(pattern):
        for name in matches(f"{root}{literal}"):
            if not compiled.matches(name.removeprefix(root)):
                raise GlobError(
                    f"there is a file {shown(ascii(name), 200)}, with these very characters in its "
                    f"name, which the wildcards do not match; for that file, write {root}{literal}"
                )


def _with_literal_wildcards(pattern: str) -> Iterator[str]:
    """Yield the globs that have every wildcard, or only brackets, as characters of the name."""
    if not matcher(pattern).matches(pattern):
        yield _WILDCARD.sub(r"[\g<0>]", pattern)
    before = ""
    rest = 0
    for brackets in _CLASS.finditer(pattern):
        if brackets[0] in _LITERALS:
            continue
        before += pattern[rest : brackets.start()] + _WILDCARD.sub(r"[\g<0>]", brackets[0])
        rest = brackets.end()
        yield before + pattern[rest:]


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
            matcher(glob.pattern)
        except re.error as error:
            raise _malformed(url, f"its brackets are not valid ({error})") from None
        if problem := too_costly(glob.url):
            raise _malformed(url, problem)
        return glob

    @property
    def url(self) -> str:
        """The whole glob."""
        return self.object_url(self.pattern)

    @property
    def prefix(self) -> str:
        """What every matching name begins with: the pattern up to its first wildcard."""
        prefix: re.Match[str] | None = _PREFIX.match(self.pattern)
        return _CLASS.sub(lambda char: _LITERALS[char[0]], prefix[0]) if prefix else ""

    @property
    def is_one_object(self) -> bool:
        """Whether it has no wildcard."""
        return not _WILDCARD.search(self.pattern)

    @property
    def storage_pattern(self) -> str | None:
        """The pattern for `matchGlob`, or None if it would leave out objects that Beam matches."""
        differs = (
            self.is_one_object or "**" in self.pattern or re.search(r"[?\[\]{}\\]", self.pattern)
        )
        return None if differs else self.pattern

    def matches(self, name: str) -> bool:
        """Whether the job will read the object `name`."""
        return matcher(self.pattern).matches(name)

    def object_url(self, name: str) -> str:
        """Return the gs:// URL of an object in the bucket, as the job knows it."""
        return f"gs://{self.bucket}/{name}"


def whole_folder(pattern: str) -> str:
    """Return a glob for the files in a folder, if `pattern` ends as a folder does for Beam."""
    return f"{pattern}*" if pattern.endswith(("/", "\\")) else pattern


def _malformed(url: str, problem: str) -> GlobError:
    return GlobError(f"prompts: {problem}; {_EXPECTED}, got {shown(ascii(url), 300)}")
