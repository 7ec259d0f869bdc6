"""Counting one prompt file: its prompts by digest, its invalid rows, and its problem if it has one.

It is read with the job's own code, so that the plan sees what the job will see, and in the
generation that was listed.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from beam_jobs.prompts.listing import ListedFile
from beam_jobs.shown import shown
from imagen_ops.backfill.plan_limits import PlanLimits
from imagen_ops.backfill.planned_references import MAX_LOOKED_UP

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

    from beam_jobs.prompts.defaults import PromptDefaults
    from beam_jobs.prompts.parse import Prompt
    from beam_jobs.prompts.templates import FindTemplate

SHOWN_ROWS = 20
_SHOWN_CHARS = 300
# Strings as Python writes them; one that was cut off has no closing quote.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|\\?$)|"(?:[^"\\]|\\.)*(?:"|\\?$)""")


# What a field has instead of what was expected. A number of cells is none of their values.
_GOT = re.compile(r"(?<=\bgot )(?<!cells, got )(?!'…').*", re.DOTALL)


class PriceGroup(NamedTuple):
    """What decides a prompt's price.

    Attributes:
        model: the model's id.
        images: how many images the prompt asks for.
        size: the size of its images; None for the model's own.
        thinking_level: the level that it asks for; None for the model's own.
        text_tokens: about how many tokens its text has, in steps that double.
        batchable: whether batch inference can make its images.
    """

    model: str
    images: int
    size: str | None
    thinking_level: str | None = None
    text_tokens: int = 0
    batchable: bool = False

    @classmethod
    def of(
        cls, prompt: "Prompt", model_location: str | None = None, *, changed: bool = False
    ) -> "PriceGroup":
        """Return the group of a prompt.

        Args:
            prompt: the prompt.
            model_location: where the job may call models, as its option says; None: the default.
            changed: whether custom functions change prompts or images in the job.
        """
        from beam_jobs.prefetch.batchable import batch_locations, why_not_prompt
        from beam_jobs.prompts.likely_cost import text_tokens

        # The middle between two powers of two: few groups, each of prompts that cost about as much.
        power = text_tokens(prompt).bit_length()
        return cls(
            model=prompt.model,
            images=prompt.images,
            size=prompt.image_size,
            thinking_level=prompt.thinking_level,
            text_tokens=3 * 2**power // 4,
            batchable=why_not_prompt(prompt, batch_locations(model_location), changed=changed)
            is None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FileCount:
    """What is in one file.

    Attributes:
        file: the file as it was listed.
        prompts: rows that are valid prompts.
        invalid: rows that are not. What cannot be read of a file counts as one.
        first_invalid: the first invalid rows, at most `SHOWN_ROWS`, as "path:line: what is wrong";
            without what cannot be read, which is the problem.
        problem: what is wrong with the file as a whole, as "path: what is wrong".
        digests: by price group, the prompts' digests of 16 bytes each, one after the other.
        references: the first different references of its prompts, at most `MAX_LOOKED_UP`.
    """

    file: ListedFile
    prompts: int = 0
    invalid: int = 0
    first_invalid: tuple[str, ...] = ()
    problem: str | None = None
    digests: Mapping[PriceGroup, bytes] = dataclasses.field(default_factory=dict)
    references: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Prompts and invalid rows."""
        return self.prompts + self.invalid


def count_file(
    bucket: "Bucket",
    file: ListedFile,
    path: str,
    defaults: "PromptDefaults",
    limits: PlanLimits,
    find_template: "FindTemplate",
    model_location: str | None = None,
) -> FileCount:
    """Read a whole file and count what is in it.

    If Cloud Storage refuses this one file, that is the file's `problem`. Any other error is raised:
    a plan that left out what it could not reach would promise too little.

    Args:
        bucket: where the file is.
        file: which generation to read, and its size.
        path: gs://BUCKET/NAME, as the job names the file.
        defaults: what prompts are parsed with.
        limits: of the whole plan.
        find_template: returns the template of a name.
        model_location: where the job may call models, as its option says; None: the default.

    Raises:
        PlanLimitError: the plan is over one of its limits with this file.
        google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
        OSError: Cloud Storage does not answer, or refuses for a reason not of this file.
    """
    from beam_jobs.outcomes import Failure
    from beam_jobs.prompts.parse import Prompt, parse
    from beam_jobs.prompts.rows import PromptFileReader
    from beam_jobs.prompts.stored_object import StoredObject

    if file.size == 0 and not file.name.endswith("/"):
        return FileCount(file, problem=f"{shown(path)}: is empty")
    stream = StoredObject(bucket.blob(file.name, generation=file.generation), file.size)
    limits.check_time(path)
    prompt_file = PromptFileReader(
        path, defaults.source, limits.of_a_file, templated=defaults.template is not None
    )
    digests: dict[PriceGroup, bytearray] = {}
    prompts = invalid = 0
    first_invalid: list[str] = []
    references: dict[str, None] = {}
    for row in prompt_file.read(lambda: stream):
        limits.count_row(path, prompt_file.line)
        if prompt_file.over_limit:
            limits.refuse_bytes(path, prompt_file.line)
        if prompt_file.broken is not None:
            # It says that the file cannot be read any further, which is the file's problem. It is
            # a dead letter of the job too, unless reading failed, which may not happen again.
            invalid += stream.error is None
            break
        item: Any = row
        if not isinstance(row, Failure):
            item = parse(
                row.body,
                row.attributes,
                origin=row.origin,
                defaults=defaults,
                find_template=find_template,
            )
        if isinstance(item, Prompt):
            prompts += 1
            group = PriceGroup.of(item, model_location, changed=defaults.changed)
            digests.setdefault(group, bytearray()).extend(bytes.fromhex(item.digest))
            if len(references) < MAX_LOOKED_UP:
                references.update((each.path, None) for each in item.references)
        elif isinstance(item, Failure):
            invalid += 1
            if len(first_invalid) < SHOWN_ROWS:
                first_invalid.append(_invalid_row(path, prompt_file.line, item.detail))
    return FileCount(
        file=file,
        prompts=prompts,
        invalid=invalid,
        first_invalid=tuple(first_invalid),
        problem=_problem(shown(path), prompt_file, stream.error, prompts + invalid),
        digests={group: bytes(raw) for group, raw in digests.items()},
        references=tuple(references)[:MAX_LOOKED_UP],
    )


def _problem(path: str, prompt_file: Any, error: Exception | None, rows: int) -> str | None:
    from google.api_core.exceptions import Forbidden, NotFound

    line = prompt_file.line
    match error:
        case None:
            pass
        case NotFound():
            place = f"after line {line}" if line else "before its first line"
            return f"{path}: was changed or deleted while it was read, {place}; plan again"
        case Forbidden():
            return shown(
                f"{path}: cannot be read, permission denied: {error.message}", _SHOWN_CHARS
            )
        case _:
            raise error
    if prompt_file.broken is not None:
        place = f"{path}:{line}" if line else path
        return f"{place}: {_without_values(prompt_file.broken)}"
    return None if rows else f"{path}: has no prompts"


def _invalid_row(path: str, line: int, detail: str) -> str:
    """Return an invalid row as "path:line: what is wrong"; `detail` may begin with the place."""
    problem = detail.removeprefix(f"{path}:{line}: ")
    return f"{shown(path)}:{line}: {_without_values(problem)}"


def _without_values(text: str) -> str:
    """Return `text` without what it shows of a file, except our fields' names and CSV's marks.

    A quote or a number may be part of somebody's prompt. That belongs in its dead letter, but not
    in a plan, which is logged and kept.
    """
    from beam_jobs.prompts.fields import FIELD_NAMES

    def replacement(quote: re.Match[str]) -> str:
        return quote[0] if quote[0][1:-1] in (*FIELD_NAMES, ",", '"') else "'…'"

    return shown(_GOT.sub("…", _QUOTED.sub(replacement, text)), _SHOWN_CHARS)
