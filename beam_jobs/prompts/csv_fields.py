"""The columns of a CSV file, and the fields of a prompt in one of its rows. Pure."""

import difflib
import re
from typing import Any

from beam_jobs.prompts.csv_rows import CsvRow
from beam_jobs.prompts.fields import FIELDS, Kind
from beam_jobs.prompts.file_error import FileError
from beam_jobs.prompts.templates import is_variable

# The field that holds the cells of all further columns.
_VALUES = "vars"
_KINDS = {field.name: field.kind for field in FIELDS if field.name != _VALUES}
_INTEGER = re.compile(r"\s*-?[0-9]{1,18}\s*")
_BOOLEANS = {"true": True, "false": False}
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_QUOTED_NAMES = re.compile(rb'"[^"]*"[ ]*([;\t|])')


class RowError(ValueError):
    """A row cannot be read as a prompt. The rows after it can be."""


def header_of(row: CsvRow, *, templated: bool) -> list[str]:
    """Return the column names.

    Args:
        row: the header.
        templated: whether rows have a template even if no column names one. With a template,
            further columns are what it is filled with.

    Raises:
        FileError: the row is no row, the column `prompt` is missing, or a column is unknown or
            appears twice.
    """
    if row.cells is None:
        if match := _QUOTED_NAMES.match(row.raw):
            raise FileError(
                "the names of the columns are separated by "
                f"{_OTHER_DELIMITERS[match[1].decode()]}; save the file with commas"
            )
        raise FileError(f"the header cannot be read: {row.problem}")
    names = names_in(row.cells)
    if names[0].lower().startswith("sep="):
        delimiter = names[0][4:5]
        raise FileError(
            "begins with a line for Excel, sep=; remove this line"
            + (
                f", and save the file with commas, not {_OTHER_DELIMITERS[delimiter]}"
                if delimiter in _OTHER_DELIMITERS
                else ""
            )
        )
    has_template = templated or "template" in names
    if "prompt" not in names and not has_template:
        other = next((name for mark, name in _OTHER_DELIMITERS.items() if mark in names[0]), None)
        raise FileError(
            f"no column 'prompt'; the columns are {_quoted(names)}; names are in lower case"
            + (f", and separated by commas, not by {other}" if other else "")
        )
    unknown = sorted(set(names) - set(_KINDS))
    if unknown and not has_template:
        near = difflib.get_close_matches(unknown[0].lower(), _KINDS, n=1)
        raise FileError(
            f"unknown column {ascii(unknown[0])[:60]}"
            + (f" (did you mean {near[0]}?)" if near else "")
            + f"; expected one of {', '.join(_KINDS)}; others are for a template, which a column "
            "template or the option --prompt_template names"
        )
    if wrong := [name for name in unknown if not is_variable(name) or name == _VALUES]:
        raise FileError(
            f"column {ascii(wrong[0])[:60]}: expected a field's name or that of one variable of "
            "the template, of letters, digits and _, separated by commas"
        )
    if len(set(names)) < len(names):
        raise FileError(f"a column name appears twice; the columns are {_quoted(names)}")
    return names


def names_in(cells: list[str]) -> list[str]:
    """Return the names in the cells of a header."""
    return [cell.strip() for cell in cells]


def _quoted(names: list[str]) -> str:
    return ", ".join(map(ascii, names))[:200]


def fields_in(header: list[str], row: list[str]) -> dict[str, Any]:
    """Return the fields of the structured prompt in a row; an empty cell means no value.

    Cells of other columns than fields are the values of the template's variables.

    Raises:
        RowError: the row has more or fewer cells than the header, or is not UTF-8.
    """
    if len(row) != len(header):
        raise RowError(f"expected {len(header)} cells, got {len(row)}")
    fields: dict[str, Any] = {}
    values: dict[str, str] = {}
    for name, cell in zip(header, row, strict=True):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(f"column '{name}' is not UTF-8 at character {error.start}") from None
        if cell == "" and name != "prompt":
            continue
        if name not in _KINDS:
            values[name] = cell
        elif _KINDS[name] is Kind.INTEGER and _INTEGER.fullmatch(cell):
            fields[name] = int(cell)
        elif _KINDS[name] is Kind.BOOLEAN:
            fields[name] = _BOOLEANS.get(cell.strip().lower(), cell)
        else:
            fields[name] = cell
    if values:
        fields[_VALUES] = values
    return fields
