"""Lists objects page by page, reading only as much of the index as a page needs."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from localcloud.storage import errors
from localcloud.storage.preconditions import integer
from localcloud.storage.records import StoredObject

MAX_PAGE = 1000
_STEP = 250
_HIGHEST = chr(0x10FFFF)

Fetch = Callable[[str, str | None, int], Sequence[StoredObject]]
"""Returns objects sorted by name. Its arguments are the first name, the end (exclusive; None means
no end) and the maximum number of objects."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list request. Names are compared by code point, which is the order of their UTF-8.

    Attributes:
        prefix: list names that start with this.
        delimiter: fold names that contain this after the prefix into common prefixes.
        start: list names from this one on.
        end: list names before this one.
        after: the last name of the previous page.
        limit: maximum number of objects and common prefixes.
        trailing_delimiter: also list objects whose name ends with the delimiter.
        glob: list names that match this pattern.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str | None = None
    after: str | None = None
    limit: int = MAX_PAGE
    trailing_delimiter: bool = False
    glob: str | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "ListQuery":
        """Parse a request's query parameters.

        Raises:
            StorageError: 400; a value is invalid.
        """
        limit = integer(query, "maxResults")
        if limit is not None and limit < 0:
            raise errors.invalid(f"Invalid value for maxResults: {limit}, expected at least 0")
        token = query.get("pageToken")
        return cls(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=query.get("startOffset", ""),
            end=query.get("endOffset") or None,
            after=decode_token(token) if token else None,
            limit=min(limit or MAX_PAGE, MAX_PAGE),
            trailing_delimiter=query.get("includeTrailingDelimiter", "").lower() == "true",
            glob=query.get("matchGlob") or None,
        )


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page. `token` requests the next page; None means this is the last."""

    items: Sequence[StoredObject]
    prefixes: Sequence[str]
    token: str | None


def walk(query: ListQuery, fetch: Fetch) -> ListPage:
    """Return one page: objects, and with a delimiter the common prefixes of others.

    A common prefix costs one look-up, however many objects it stands for.
    """
    pattern = _glob_regex(query.glob) if query.glob else None
    # The literal beginning of a glob limits the walk like a prefix.
    literal = re.split(r"[*?\[{\\]", query.glob)[0] if query.glob else ""
    prefix = query.prefix if query.prefix.startswith(literal) else literal
    if not prefix.startswith(query.prefix):
        return ListPage((), (), None)
    end = _earliest(query.end, past_prefix(prefix) if prefix else None)
    cursor: str | None = max(prefix, query.start)
    if query.after is not None:
        cursor = _after(query.after, query)
    items: list[StoredObject] = []
    prefixes: list[str] = []
    last = ""
    # A row that is folded into a prefix ends the step, so steps are short where there are folders.
    step = 2 if query.delimiter else _STEP
    while cursor is not None and (end is None or cursor < end):
        missing = query.limit + 1 - len(items) - len(prefixes)
        rows = fetch(cursor, end, min(max(missing, 1), step))
        if not rows:
            break
        cursor = rows[-1].name + "\0"
        step = min(2 * step, _STEP)
        for row in rows:
            common = _common_prefix(row.name, query)
            if pattern and not pattern.fullmatch(row.name if common is None else common):
                if common is None:
                    continue
                cursor, step = past_prefix(common), 2
                break
            if len(items) + len(prefixes) >= query.limit:
                return ListPage(items, prefixes, encode_token(last))
            if common is None:
                items.append(row)
                last = row.name
                continue
            prefixes.append(common)
            if query.trailing_delimiter and row.name == common:
                items.append(row)
            last = common
            cursor, step = past_prefix(common), 2
            break
    return ListPage(items, prefixes, None)


def past_prefix(prefix: str) -> str | None:
    """Return the first string after all that start with `prefix`; None if there is none."""
    stem = prefix.rstrip(_HIGHEST)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following == 0xD800:  # surrogates are not characters
        following = 0xE000
    return stem[:-1] + chr(following)


def encode_token(name: str) -> str:
    """Return a page token for the page's last name, encoded so that clients treat it as opaque."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """Return the name in a page token.

    Raises:
        StorageError: 400; the token is invalid.
    """
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise errors.invalid(f"Invalid value for pageToken: '{token}'") from None


def _after(last: str, query: ListQuery) -> str | None:
    if query.delimiter and _common_prefix(last, query) == last:
        return past_prefix(last)
    return last + "\0"


def _common_prefix(name: str, query: ListQuery) -> str | None:
    if not query.delimiter:
        return None
    at = name.find(query.delimiter, len(query.prefix))
    return None if at < 0 else name[: at + len(query.delimiter)]


def _earliest(first: str | None, second: str | None) -> str | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _glob_regex(glob: str) -> re.Pattern[str]:
    """Compile a matchGlob: `*` and `?` stop at slashes, `**` does not; also `[...]` and `{a,b}`."""
    out: list[str] = []
    depth = 0
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            if glob.startswith("*", at):
                at += 1
                # `**/` also matches zero directories.
                out.append("(?:.*/)?" if glob.startswith("/", at) else ".*")
                at += glob.startswith("/", at)
            else:
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and "]" in glob[at + 1 :]:
            close = glob.index("]", at + 1)
            members = glob[at:close].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^{members[1:]}]" if members[0] in "!^" else f"[{members}]")
            at = close + 1
        elif char == "{":
            out.append("(?:")
            depth += 1
        elif char == "}" and depth:
            out.append(")")
            depth -= 1
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and at < len(glob):
            out.append(re.escape(glob[at]))
            at += 1
        else:
            out.append(re.escape(char))
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error as error:
        raise errors.invalid(f"Invalid value for matchGlob: '{glob}' ({error})") from None
