"""What decided an image beside prompt and model: the prompt's other fields, and the job's options.

Records and the index hold both side by side, beside what the images cost. Only a field can be sent
again with the prompt: `publish` has an option for each, and none for what the job decides.
"""

from collections.abc import Mapping
from typing import Any

from beam_jobs.prompts.fields import PARAMETERS
from beam_jobs.prompts.identity import ENDPOINT_PART, POSTPROCESS_PART
from imagen_ops.ui.untrusted import mapping, texts_and_numbers

_FIELDS = tuple(field.name for field in PARAMETERS)
_JOB_OPTIONS = (ENDPOINT_PART, POSTPROCESS_PART)

Values = dict[str, str | float | int]


def prompt_parameters(values: Any) -> dict[str, Values]:
    """Return what the page shows beside an image, of values that any version has written.

    Args:
        values: by name.

    Returns:
        `parameters`, which are fields of the prompt, and `job_options`, each by name. Other names
        are left out.
    """
    known = mapping(values)
    return {"parameters": _named(known, _FIELDS), "job_options": _named(known, _JOB_OPTIONS)}


def _named(values: Mapping[str, Any], names: tuple[str, ...]) -> Values:
    return texts_and_numbers({name: values[name] for name in names if name in values})
