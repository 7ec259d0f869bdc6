"""What the job that stores a batch's images says about them, `imagen.prefetch_import/1`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# What may have been paid for, and is not understood. Somebody may want to look at the output.
_ODD = (
    *("no_image", "not_stored", "unlabelled", "unknown", "echo_changed"),
    *("cut_off", "too_long", "unreadable"),
)

_Count = Annotated[int, Field(ge=0)]


class ImportReport(BaseModel):
    """The report of an import job.

    Attributes:
        schema_name: `imagen.prefetch_import/1`.
        rows: how many rows of the output became what, by a word for each.
        images: how many images were made, and so paid for.
        records: how many prompts have all their images.
        cost_usd: what the rows cost, by the tokens that they state; None: not known.
        unpriced_rows: rows that may have cost something beyond that.
        first_problems: what is wrong with the first odd rows, in words without any prompt.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["imagen.prefetch_import/1"] = Field(alias="schema")
    rows: dict[str, _Count]
    images: _Count
    records: _Count
    cost_usd: Annotated[float, Field(ge=0)] | None
    unpriced_rows: _Count = 0
    first_problems: tuple[str, ...] = ()

    @property
    def odd_rows(self) -> int:
        """How many rows nobody can tell the use of."""
        return sum(self.rows.get(name, 0) for name in _ODD)


def parse_report(content: bytes) -> ImportReport:
    """Return a report as its job wrote it.

    Raises:
        ValueError: it is something else; says what was expected.
    """
    try:
        return ImportReport.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"expected an imagen.prefetch_import/1: {field}: {first['msg']}") from None
