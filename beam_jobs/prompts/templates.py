"""Prompt templates: texts with {names} in them, for which each prompt has values. Pure.

`A studio photo of {product} on {surface}`. A value is put in as text, once: what it holds is never
looked at for names, and nothing is evaluated. `{{` and `}}` are braces.
"""

import dataclasses
import math
import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from beam_jobs.outcomes import Reason
from beam_jobs.prompts.body import InvalidPromptError, is_blank, quoted, without_marks
from beam_jobs.prompts.field_values import sendable, text_of
from beam_jobs.prompts.structured import stands_for_no_value

TEMPLATE_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
# The longest text that a model is sent, if each character has four bytes.
MAX_TEMPLATE_BYTES = 32_000

_TEMPLATE = re.compile(TEMPLATE_PATTERN)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NAMES = "letters, digits and _, beginning with no digit"
# Up to here, a float holds each whole number exactly.
_MAX_EXACT = 2**53
_MAX_SHOWN = 5


class TemplateError(InvalidPromptError):
    """A prompt's template is not there or is none. The same prompt can succeed once it is.

    Args:
        message: what is wrong, and what to do.
        reason: `STORAGE_ERROR` if it may be there, but cannot be read.
    """

    def __init__(self, message: str, reason: Reason = Reason.INVALID_PROMPT) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A template, split at its names.

    Attributes:
        version: its name and the generation of its object, as NAME@GENERATION.
        parts: texts, each with the name of the variable after it; None at the end.
    """

    version: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, version: str, content: bytes) -> "PromptTemplate":
        """Return the template with this content.

        Raises:
            TemplateError: it is none; says in which line.
        """
        parts: list[tuple[str, str | None]] = []
        try:
            text = without_marks(content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise TemplateError(
                f"template {version} is not UTF-8 at byte {error.start}; save it as UTF-8"
            ) from None
        if not text:
            raise TemplateError(f"template {version} is empty")
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            try:
                for literal, name, spec, conversion in string.Formatter().parse(line):
                    if name is not None and (spec or conversion or not is_variable(name)):
                        raise ValueError(f"a name consists of {_NAMES}")
                    parts.append((literal, name))
            except ValueError as error:
                raise TemplateError(
                    f"template {version}, line {number}: {error}; write {{name}} for a variable, "
                    "and {{ or }} for a brace"
                ) from None
        return cls(version, tuple(parts))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the text with these values of its variables.

        Raises:
            InvalidPromptError: a variable has no value, or a value has no variable.
        """
        names = list(dict.fromkeys(name for _, name in self.parts if name is not None))
        if missing := [name for name in names if name not in values]:
            raise InvalidPromptError(f"no value for {_listed(missing)}, which the template needs")
        if unused := sorted(set(values).difference(names)):
            has = _listed(names) if names else "no variables"
            raise InvalidPromptError(f"{_listed(unused)} is not used: the template has {has}")
        return "".join(
            literal + (values[name] if name is not None else "") for literal, name in self.parts
        )


# Returns the template of a name. Raises TemplateError.
FindTemplate = Callable[[str], PromptTemplate]


def no_templates(name: str) -> PromptTemplate:
    """Refuse a template where none can be read."""
    raise TemplateError(f"template {name} cannot be looked up without the deployment's bucket")


def is_variable(name: str) -> bool:
    """Whether a variable can have this name."""
    return _VARIABLE.fullmatch(name) is not None


def template_problem(name: str | None) -> str | None:
    """Return what is wrong with the name of a default template; None if nothing is."""
    if not name or _TEMPLATE.fullmatch(name):
        return None
    return f"{_expected_name()}, got {name[:80]!r}"


def text_and_template(
    fields: Mapping[str, Any], default: str | None, find: FindTemplate
) -> tuple[str, str | None]:
    """Return a prompt's text, and the version of the template that it is made of, if there is one.

    With a template, the field `prompt` is the value of its variable of that name.

    Args:
        fields: of the structured prompt.
        default: the name of the template of prompts that name none; None: they have none.
        find: returns a template.

    Raises:
        TemplateError: the template is not there or is none.
        InvalidPromptError: a field is not valid, or the values are not those that it needs.
    """
    name = _name_in(fields, default)
    if name is None:
        return _own_text(fields), None
    if not isinstance(name, str) or not _TEMPLATE.fullmatch(name):
        raise InvalidPromptError(f"field 'template': {_expected_name()}, got {quoted(name)}")
    values = _values(fields)
    template = find(name)
    try:
        text = sendable(without_marks(template.filled(values)), "prompt")
    except InvalidPromptError as error:
        raise InvalidPromptError(f"template {template.version}: {error}") from None
    return text, template.version


def require_text(fields: Mapping[str, Any], default: str | None) -> None:
    """Check that fields have a text, or a template that makes one.

    Args:
        fields: of the structured prompt.
        default: the name of the template of prompts that name none; None: they have none.

    Raises:
        InvalidPromptError: they have neither.
    """
    if _name_in(fields, default) is None and not isinstance(fields.get("prompt"), str):
        raise InvalidPromptError(
            f"field 'prompt': expected a string, got {quoted(fields['prompt'])}"
            if "prompt" in fields
            else "field 'prompt' is missing; a JSON object needs it, as a string, or a template"
        )


def _name_in(fields: Mapping[str, Any], default: str | None) -> Any:
    given = fields.get("template")
    return default if given is None else given


def _own_text(fields: Mapping[str, Any]) -> str:
    if fields.get("vars") is not None:
        raise InvalidPromptError(
            "field 'vars' is only for a template; name one in the field template"
        )
    return text_of(fields["prompt"], "prompt")


def _values(fields: Mapping[str, Any]) -> dict[str, str]:
    given = fields.get("vars")
    if not isinstance(given, dict | None):
        raise InvalidPromptError(
            f"field 'vars': expected an object of names and values, got {quoted(given)}"
        )
    values = {}
    for name, value in (given or {}).items():
        if not is_variable(name):
            raise InvalidPromptError(
                f"field 'vars': expected names of {_NAMES}, got {quoted(name)}"
            )
        if name == "prompt":
            raise InvalidPromptError(
                "field 'vars': the value of {prompt} is that of the field prompt; set it there"
            )
        if value is not None:
            values[name] = _value(name, value)
    if fields.get("prompt") not in (None, ""):  # an empty cell of a file is no value
        values["prompt"] = text_of(fields["prompt"], "prompt")
    return values


def _value(name: str, value: Any) -> str:
    match value:
        case bool():
            text = None
        case int():
            text = str(value)
        case float() if math.isfinite(value):
            text = str(int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value)
        case str():
            text = without_marks(value)
        case _:
            text = None
    if text is None:
        raise InvalidPromptError(
            f"variable {{{name}}}: expected a string or a number, got {quoted(value)}"
        )
    if is_blank(text) or stands_for_no_value(text):
        raise InvalidPromptError(f"variable {{{name}}} is empty, got {quoted(value)}")
    return text


def _listed(names: list[str]) -> str:
    more = ", …" if len(names) > _MAX_SHOWN else ""
    return ", ".join(f"{{{name}}}" for name in names[:_MAX_SHOWN]) + more


def _expected_name() -> str:
    return "expected a template's name: up to 63 of a-z 0-9 - _, such as studio"
