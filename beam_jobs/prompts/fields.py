"""The fields of a structured prompt, one line each.

The parser, the digest, the record, prompt files, the command line and the page take the names and
kinds of the fields from here. `beam_jobs.prompts.parse` checks their values, and the adapters in
`beam_jobs.models` pass them to the models.
"""

import dataclasses
from enum import StrEnum


class Kind(StrEnum):
    """What a field holds."""

    TEXT = "text"
    CHOICE = "choice"  # one of a few values that the model offers
    INTEGER = "integer"
    BOOLEAN = "boolean"
    PATHS = "paths"  # of pictures; in a .csv file, divided by spaces or bars
    VALUES = "values"  # texts and numbers by name; in a .csv file, a column for each


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a structured prompt.

    Args:
        name: its JSON key, and its column in a `.csv` file.
        kind: what it holds.
        help: what it is for, in one line.
        decides: whether it decides the image. If so, it is part of the digest, the record and the
            index, and either each adapter sends it or the parser refuses it.
        gemini_only: whether only Gemini models have it.
    """

    name: str
    kind: Kind
    help: str
    decides: bool = True
    gemini_only: bool = False


FIELDS = (
    Field("prompt", Kind.TEXT, help="the text; required without a template"),
    Field("id", Kind.TEXT, help="returned as prompt_id; default: ~ and the digest", decides=False),
    Field("model", Kind.CHOICE, help="one of the allowed models; default: the job's --model"),
    Field("images", Kind.INTEGER, help="how many images, 1 to 4; default: 1"),
    Field("aspect_ratio", Kind.CHOICE, help="such as 16:9; the values depend on the model"),
    Field("image_size", Kind.CHOICE, help="such as 2K; the values depend on the model"),
    Field("seed", Kind.INTEGER, help="0 to 2147483647"),
    Field("negative_prompt", Kind.TEXT, help="what to leave out; :predict models only"),
    Field(
        "system_instruction",
        Kind.TEXT,
        help="what holds for the image beside the prompt, such as a style; Gemini models only",
        gemini_only=True,
    ),
    Field(
        "thinking_level",
        Kind.CHOICE,
        help="such as high, for more thought and tokens; the values depend on the model",
        gemini_only=True,
    ),
    Field(
        "person_generation",
        Kind.CHOICE,
        help="ALLOW_ALL, ALLOW_ADULT or ALLOW_NONE; Gemini models only",
        gemini_only=True,
    ),
    Field("output_format", Kind.CHOICE, help="png or jpeg; Gemini models only", gemini_only=True),
    Field(
        "output_quality",
        Kind.INTEGER,
        help="1 to 100, for jpeg; Gemini models only",
        gemini_only=True,
    ),
    Field(
        "references",
        Kind.PATHS,
        help="gs:// path of a picture to show the model, or several; Gemini models only",
        gemini_only=True,
    ),
    Field(
        "template",
        Kind.TEXT,
        help="name of the prompt template to fill; default: that of the job, if it has one",
        decides=False,  # the text that it makes does
    ),
    Field("vars", Kind.VALUES, help="what to fill the template with, by name", decides=False),
    Field("reuse", Kind.BOOLEAN, help="false generates new images each time", decides=False),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)
DECIDING = tuple(field for field in FIELDS if field.decides)
# Fields to show beside an image, in addition to its prompt and model.
PARAMETERS = tuple(field for field in DECIDING if field.name not in ("prompt", "model", "images"))
