"""Tells texts that were meant as an object, a list or no value from prompts.

A program that prints an object instead of writing JSON sends text that a model would draw. "{a fox|
an owl} in the snow", "[oil painting] a fox" and "prompt: a fox" are prompts, and stay so.

Must not import Beam or a file system: see `beam_jobs.prompts.rows`.
"""

import functools
import json
import re

from beam_jobs.prompts.fields import FIELD_NAMES

_FIELD = rf"(?i:{'|'.join(FIELD_NAMES)})"
# A quotation mark, also escaped, and as HTML, URLs and word processors have it.
_QUOTE = (
    r"""\\*(?:["'`\u00b4\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb]"""
    r"""|&(?:quot|apos|\#34|\#39|\#x22|\#x27);|%22|%27|\\?u0022)"""
)
_OPEN = r"(?:\{|%7[Bb]|&\#123;|&lbrace;|\\u007[Bb])"
# Possessive, or a text of many comments would take for ever.
_COMMENTS = r"(?:(?://[^\n]*+(?:\n|\Z)|/\*(?:(?!\*/).)*+\*/)\s*+)++"

# What a text begins with, and what it then is. The first one that fits counts.
_KINDS = {
    # {"prompt": …}, {'prompt': …}, {prompt: …}, {\"prompt\": …}, b'{"prompt": …}', {&quot;prompt…
    rf"""(?:b?["'])?\s*(?:{_OPEN}\s*(?:{_QUOTE}|{_FIELD}\s*:)"""
    # ["a fox"], [{"prompt": …}], [[…
    rf"""|\[\s*(?:{_QUOTE}|[\[{{]\s*(?:{_QUOTE}|[\[{{]|{_FIELD}\s*[:=])))""": "JSON",
    # {prompt=a fox}: Java's Map.toString, C#; {:prompt=>"a fox"}, {prompt => …}: Ruby, Perl;
    # {:prompt "a fox"}: Clojure; &{Prompt:a fox}: Go; %{prompt: …}: Elixir
    rf"[&%]?\{{\s*:?{_FIELD}\s*(?:=|:)|\{{\s*:{_FIELD}\b": "a printed map",
    # map[id:x prompt:a fox]: Go; Prompt(prompt='a fox'): Python, Kotlin; Prompt[prompt=a fox]:
    # Java; Prompt { prompt: "a fox" }: Rust
    rf"map\[\w+:|&?[A-Za-z_][\w.]*(?:[\[(]|\s?\{{)\s*{_FIELD}\s*[=:]": "a printed object",
    # OrderedDict([('prompt', …, [('prompt', 'a fox')], ('prompt', 'a fox')
    rf"(?:OrderedDict|defaultdict|mappingproxy)\(|\[?\(\s*{_QUOTE}{_FIELD}{_QUOTE}\s*,": (
        "a printed dictionary"
    ),
    # [object Object], <Prompt object at 0x7f…>: the object's fields are lost
    r"\[object [A-Z]\w*\]|<[\w.]+ object at 0x": "a printed object without its fields",
    # a:1:{s:6:"prompt"; and Array ( [prompt] =>: PHP
    rf"[aO]:\d+:[{{\"]|(?:Array|stdClass Object)\s*\(\s*(?:\[{_FIELD}\]|\))": "a printed PHP array",
    # ```json {…, // … {…, { /* … */ …
    rf"(?:```|~~~)\w*\s*[\[{{]|{_COMMENTS}[\[{{]|[\[{{]\s*(?://|/\*)": (
        "JSON in Markdown or with comments"
    ),
    # data: {…}: server-sent events; body={…}
    rf"(?:data|body|json|message|payload)\s*[:=]\s*[\[{{]\s*(?:{_QUOTE}|[\[{{])": "labelled JSON",
    # "prompt": "a fox", and prompt: "a fox": a line of an object
    rf"{_QUOTE}{_FIELD}{_QUOTE}\s*:|(?i:prompt)\s*[:=]\s*{_QUOTE}": "a part of an object",
    # prompt=a+fox&id=x: a form
    rf"{_FIELD}=(?:\S*\Z|[^\n]*&{_FIELD}=)": "a web form's data",
    # prompt: a fox, and on the next line id: x
    rf"(?:---\s*\n)?{_FIELD}\s*:[^\n]*\n\s*{_FIELD}\s*:": "YAML",
    rf"<{_FIELD}>": "XML",
    # {" and [{" in base64, also with a line end, or a long code with digits and both cases
    r"(?:eyJ|eyA|ewo|ew0|W3s|WyJ)[\w+/=-]{13,}\Z"
    r"|(?=\S*[a-z])(?=\S*[A-Z])(?=\S*[0-9])[\w+/-]{40,}={0,2}\Z": "base64",
}
_KIND = re.compile(
    "|".join(f"(?P<k{number}>{kind})" for number, kind in enumerate(_KINDS)), re.DOTALL
)
_NAMES = {f"k{number}": name for number, name in enumerate(_KINDS.values())}
# What programs write where they have no value.
_NO_VALUE = re.compile(
    r"""(?:\(?null\)?|<null>|nan|none|nil|undefined|<na>|\#?n/a|""|''|``)""", re.IGNORECASE
)
# Format characters that a text can begin with, and the byte order mark read as Windows-1252.
_UNSEEN = re.compile("(?:[\\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]|ï»¿)+")


def seen(text: str) -> str:
    """Return a text without the invisible characters that it begins with."""
    match = _UNSEEN.match(text)
    return text[match.end() :] if match else text


@functools.lru_cache(maxsize=1)  # plain text is asked for twice: as a body, and as a field
def kind_of(text: str) -> str | None:
    """Return what a text was meant as, such as "JSON"; None for a prompt."""
    text = seen(text)
    if match := _KIND.match(text):
        return _NAMES[match.lastgroup or "k0"]
    if text.startswith(("{", "[")):
        try:
            json.loads(text)
        except RecursionError:
            return "JSON"
        except ValueError:
            return None
        return "JSON"
    return None


def stands_for_no_value(text: str) -> bool:
    """Whether a whole text is a program's word for a missing value."""
    return _NO_VALUE.fullmatch(text) is not None
