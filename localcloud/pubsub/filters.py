"""The filter language of subscriptions.

    filter    := not_term (("AND" not_term)+ | ("OR" not_term)+)?
    not_term  := ("NOT" | "-")? term
    term      := "(" filter ")" | comparison | prefix
    comparison:= "attributes" ":" key | "attributes" "." key ("=" | "!=") string
    prefix    := "hasPrefix" "(" "attributes" "." key "," string ")"
    key       := identifier of letters, digits, "_" and "-" | string

The language is described at https://cloud.google.com/pubsub/docs/subscription-message-filter.
Operators are upper case. AND and OR cannot be mixed without parentheses. `attributes.key != "v"` is
true for a message without that key. A filter sees a message's attributes, never its body.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localcloud.pubsub.errors import PubSubError, invalid

MAX_BYTES = 256
"""Maximum length of a filter in UTF-8, as in the service."""

Predicate = Callable[[Mapping[str, str]], bool]
"""Whether a message with these attributes matches."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z0-9_][A-Za-z0-9_-]*)|(?P<mark>!=|[-:.=(),]))"""
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_VERBATIM = "\\\"'`?"
_RESERVED = ("AND", "OR", "NOT")


def compile_filter(text: str) -> Predicate:
    """Return the predicate for a filter; an empty or blank filter matches every message.

    Raises:
        PubSubError: INVALID_ARGUMENT; the message shows where the filter is invalid.
    """
    if len(text.encode()) > MAX_BYTES:
        raise invalid(
            f"Invalid filter: it has {len(text.encode())} bytes; at most {MAX_BYTES} are allowed."
        )
    if not text.strip():
        return lambda _attributes: True
    return _Parser(text).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Parses one filter from left to right with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0

    def parse(self) -> Predicate:
        predicate = self._filter()
        if self._token.kind != "end":
            raise self._wrong("AND, OR or the end of the filter")
        return predicate

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                raise _bad_filter(self._text, at, 'a word, a "string" or one of ( ) : . = != , -')
            kind = match.lastgroup
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "the end", end)]

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _wrong(self, expected: str) -> PubSubError:
        return _bad_filter(self._text, self._token.at, expected)

    def _accept(self, text: str) -> bool:
        token = self._token
        if token.kind in {"word", "mark"} and token.text == text:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._wrong(repr(text))

    def _filter(self) -> Predicate:
        terms = [self._not_term()]
        operator = self._token.text if self._token.text in {"AND", "OR"} else None
        while operator is not None and self._accept(operator):
            terms.append(self._not_term())
        if self._token.kind == "word" and self._token.text in {"AND", "OR"}:
            raise self._wrong(f"{operator} again: put parentheses where AND and OR meet")
        if len(terms) == 1:
            return terms[0]
        if operator == "AND":
            return lambda attributes: all(term(attributes) for term in terms)
        return lambda attributes: any(term(attributes) for term in terms)

    def _not_term(self) -> Predicate:
        if self._accept("NOT") or self._accept("-"):
            negated = self._term()
            return lambda attributes: not negated(attributes)
        return self._term()

    def _term(self) -> Predicate:
        if self._accept("("):
            inner = self._filter()
            self._expect(")")
            return inner
        if self._accept("hasPrefix"):
            self._expect("(")
            self._expect("attributes")
            self._expect(".")
            key = self._key()
            self._expect(",")
            prefix = self._string()
            self._expect(")")
            return lambda attributes: key in attributes and attributes[key].startswith(prefix)
        if not self._accept("attributes"):
            raise self._wrong("attributes, hasPrefix, NOT, - or (")
        if self._accept(":"):
            present = self._key()
            return lambda attributes: present in attributes
        if not self._accept("."):
            raise self._wrong("attributes:key or attributes.key")
        return self._comparison(self._key())

    def _comparison(self, key: str) -> Predicate:
        if self._accept("="):
            value = self._string()
            return lambda attributes: attributes.get(key) == value
        if self._accept("!="):
            other = self._string()
            return lambda attributes: attributes.get(key) != other
        raise self._wrong("= or !=")

    def _key(self) -> str:
        token = self._token
        if token.kind == "string":
            return self._string()
        if token.kind != "word" or token.text in _RESERVED:
            raise self._wrong(
                "an attribute's key (in double quotes, unless letters, digits, _ or -)"
            )
        self._next += 1
        return token.text

    def _string(self) -> str:
        token = self._token
        if token.kind != "string":
            raise self._wrong('a "string" in double quotes')
        self._next += 1
        return _ESCAPE.sub(lambda match: self._unescape(match, token.at), token.text[1:-1])

    def _unescape(self, match: re.Match[str], string_at: int) -> str:
        code = match[1]
        if code[0] in "uUx" and len(code) > 1:
            point = int(code[1:], 16)
        elif len(code) == 3:
            point = int(code, 8)
        elif code in _ESCAPED:
            return _ESCAPED[code]
        elif code in _VERBATIM:
            return code
        else:
            point = -1
        if not 0 <= point <= 0x10FFFF:
            raise _bad_filter(
                self._text, string_at + 1 + match.start(), "an escape such as \\n or \\u00e9"
            )
        return chr(point)


def _bad_filter(text: str, at: int, expected: str) -> PubSubError:
    actual = f"{text[at : at + 20]!r}" if at < len(text.rstrip()) else "the end"
    return invalid(
        f"Invalid filter at character {at + 1}: found {actual}, expected {expected}.\n"
        f"  {text}\n  {' ' * at}^"
    )
