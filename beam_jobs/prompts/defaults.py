"""What a prompt may ask for, as a job's options say it.

Pure. The jobs and a backfill's plan take their parser's defaults from here, so that the plan counts
what the job will pay for.
"""

import dataclasses

from beam_jobs.allowed import names_in
from beam_jobs.catalog import IMAGE_SIZES, KNOWN_MODELS, MAX_IMAGES, Family, family_of

# The source of what the stream does; that of a backfill is backfill:RUN.
STREAM = "stream"
GEMINI_MODELS = frozenset(name for name in KNOWN_MODELS if family_of(name) is Family.GEMINI)


@dataclasses.dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What the job's options set for its prompts.

    Args:
        model: for prompts that do not name one.
        allowed_models: the models that a prompt may name.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
        model_endpoint: the endpoint or publisher model that serves `model`; None: Google's own.
        allowed_image_sizes: those that a prompt may ask for, if its model offers them.
        max_images_per_prompt: how many images a prompt may ask for, at most `MAX_IMAGES`.
        template: the name of the template of prompts that name none; None: they have none.
        reference_buckets: where references may be; None: anywhere.
        postprocess: the custom function that changes the images, as MODULE:FUNCTION@VERSION; None:
            there is none.
        changed: whether custom functions of the job change its prompts or images, in ways that only
            its workers know.
    """

    model: str
    allowed_models: frozenset[str]
    source: str = STREAM
    model_endpoint: str | None = None
    allowed_image_sizes: frozenset[str] = frozenset(IMAGE_SIZES)
    max_images_per_prompt: int = MAX_IMAGES
    template: str | None = None
    reference_buckets: frozenset[str] | None = frozenset()
    postprocess: str | None = None
    changed: bool = False

    def endpoint_of(self, model: str) -> str | None:
        """Return the endpoint that serves a model of the job; it serves the default model alone."""
        return self.model_endpoint if model == self.model else None


def prompt_defaults(
    *,
    model: str,
    source: str,
    model_endpoint: str | None = None,
    allowed_models: str | None = None,
    allowed_image_sizes: str | None = None,
    max_images_per_prompt: int | None = None,
    prompt_template: str | None = None,
    bucket: str | None = None,
    reference_buckets: str | None = None,
    postprocess: str | None = None,
    changed: bool = False,
) -> PromptDefaults:
    """Return what the options of these names set for a job's prompts.

    Args:
        model: for prompts that name no model; always allowed.
        source: the source that outcomes name.
        model_endpoint: what serves `model`, if it isn't Google's own model.
        allowed_models: comma-separated; None or empty: the known Gemini models.
        allowed_image_sizes: comma-separated; None or empty: all that a model offers.
        max_images_per_prompt: None: `MAX_IMAGES`.
        bucket: the deployment's own, where references may be; None: they may be anywhere.
        reference_buckets: comma-separated; other buckets where they may be.
        postprocess: the custom function that changes the images, as MODULE:FUNCTION@VERSION.
        changed: whether custom functions change prompts or images in ways that only workers know.
        prompt_template: the name of the template of prompts that name none; None: they have none.
    """
    return PromptDefaults(
        model=model,
        allowed_models=(frozenset(names_in(allowed_models)) or GEMINI_MODELS) | {model},
        source=source,
        model_endpoint=model_endpoint or None,
        allowed_image_sizes=frozenset(names_in(allowed_image_sizes) or IMAGE_SIZES),
        max_images_per_prompt=max_images_per_prompt or MAX_IMAGES,
        template=prompt_template or None,
        reference_buckets=frozenset({bucket, *names_in(reference_buckets)}) if bucket else None,
        postprocess=postprocess,
        changed=changed,
    )


def image_sizes_problem(value: str | None) -> str | None:
    """Return what is wrong with comma-separated image sizes; None if nothing is."""
    unknown = [name for name in names_in(value) if name not in IMAGE_SIZES]
    if not unknown:
        return None
    sizes = ", ".join(IMAGE_SIZES)
    return f"expected some of {sizes}, separated by commas, got {unknown[0][:50]!r}"


def max_images_problem(value: int | None) -> str | None:
    """Return what is wrong with a maximum of images per prompt; None if nothing is."""
    if value is None or 1 <= value <= MAX_IMAGES:
        return None
    return f"expected a whole number from 1 to {MAX_IMAGES}, got {value}"
