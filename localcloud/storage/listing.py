"""Listing objects page by page, as a walk over the index that reads only what the page needs."""

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
"""Objects with names from the first (inclusive) to the second (exclusive; None is no end), in
order, at most the third."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What to list. Names compare by code point, which is the order of their UTF-8."""

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
        """From a request's query string; StorageError (400) when a value makes no sense."""
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
    """One page; `token` asks for the next, None when there is none."""

    items: Sequence[StoredObject]
    prefixes: Sequence[str]
    token: str | None


def walk(query: ListQuery, fetch: Fetch) -> ListPage:
    """One page of `query`: objects and, with a delimiter, the common prefixes that hide others.

    A common prefix costs one look-up however many objects are under it.
    """
    pattern = _glob_regex(query.glob) if query.glob else None
    # A glob's literal start narrows the walk as a prefix does.
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
    # A row that is folded away ends its step: steps are short where there are folders.
    step = 2 if query.delimiter else _STEP
    while cursor is not None and (end is None or cursor < end):
        wanted = query.limit + 1 - len(items) - len(prefixes)
        rows = fetch(cursor, end, min(max(wanted, 1), step))
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
    """The first string after all that start with `prefix`; None when there is none."""
    stem = prefix.rstrip(_HIGHEST)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following == 0xD800:  # surrogates are no characters
        following = 0xE000
    return stem[:-1] + chr(following)


def encode_token(name: str) -> str:
    """A page token: where the page ended. Opaque to clients, so that they do not make their own."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """The name in a page token; StorageError (400) when it is none of ours."""
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
    """matchGlob's language: `*` and `?` stop at slashes, `**` does not; `[...]` and `{a,b}`."""
    out: list[str] = []
    depth = 0
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            if glob.startswith("*", at):
                at += 1
                # `**/` matches no directory at all, too.
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
