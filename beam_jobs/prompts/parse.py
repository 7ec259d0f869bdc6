"""The parser: turns the bytes and attributes of a message into a prompt.

`parse` is pure and never raises: for any input it returns a `Prompt`, a `Canary` or a `Failure`.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from beam_jobs.catalog import IMAGE_SIZES, MAX_IMAGES, Family, Offer, family_of, offer_of
from beam_jobs.outcomes import (
    CANARY_ATTRIBUTE,
    MAX_ATTRIBUTES,
    REPLAYS_ATTRIBUTE,
    Failure,
    Reason,
    forwarded_attributes,
)
from beam_jobs.prompts.body import InvalidPromptError, fields_of, quoted
from beam_jobs.prompts.canary import (
    SIGNATURE_ATTRIBUTE,
    Canary,
    CheckCanary,
    refuse_canary,
    refused,
)
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.field_values import MAX_SEED, choice, id_of, integer, offered_value, text_of
from beam_jobs.prompts.fields import DECIDING, FIELD_NAMES, FIELDS, PARAMETERS
from beam_jobs.prompts.identity import (
    ENDPOINT_PART,
    POSTPROCESS_PART,
    deduplication_key_of,
    digest_of,
    made_id,
)
from beam_jobs.prompts.references import Reference, references_of
from beam_jobs.prompts.templates import (
    FindTemplate,
    PromptTemplate,
    TemplateError,
    no_templates,
    require_text,
    text_and_template,
)

# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference#ImageConfig
PERSON_GENERATION = ("ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE")
OUTPUT_FORMATS = ("png", "jpeg")


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One valid request for images. `body` and `attributes` are those of its message.

    `origin` identifies the delivery: the message id, or `FILE:LINE`; empty if that is not known.
    `fresh` does so for a prompt that asks for new images, unless it has an id; else it is None.
    `model_endpoint` is what serves its model, if it isn't Google's own; the job says so. `template`
    is the version of the template that `text` is made of, if there is one. `postprocess` is the
    custom function that changes its images, as the job says.
    """

    prompt_id: str
    digest: str
    text: str
    model: str
    images: int
    aspect_ratio: str | None
    image_size: str | None
    seed: int | None
    negative_prompt: str | None
    system_instruction: str | None
    thinking_level: str | None
    person_generation: str | None
    output_format: str | None
    output_quality: int | None
    references: tuple[Reference, ...]
    body: bytes
    attributes: Mapping[str, str]
    origin: str = ""
    fresh: str | None = None
    model_endpoint: str | None = None
    template: str | None = None
    postprocess: str | None = None

    @property
    def deduplication_key(self) -> str:
        """What consumers deduplicate this prompt's outcomes on."""
        template = [self.template] if self.template else []
        return deduplication_key_of(self.prompt_id, self.attributes, self.digest, *template)

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides the image, by name: the fields, of which one without a value is None.

        For a model on an endpoint, that too: the same name may stand for another model there. So
        does the custom function that changes the images.
        """
        fields = {
            field.name: getattr(self, "text" if field.name == "prompt" else field.name)
            for field in DECIDING
        }
        shown = [each.recorded for each in self.references] or None
        changed_by = {POSTPROCESS_PART: self.postprocess} if self.postprocess else {}
        return {**fields, "references": shown, **self._served_by, **changed_by}

    @property
    def digested(self) -> dict[str, Any]:
        """What the digest covers: `deciding`, but of references what they hold, not their paths."""
        held = [each.deciding for each in self.references] or None
        return {**self.deciding, "references": held}

    @property
    def parameters(self) -> dict[str, Any]:
        """What to show beside an image besides text and model: the fields with a value, by name.

        For a model on an endpoint, that too.
        """
        values = {field.name: getattr(self, field.name) for field in PARAMETERS}
        values["references"] = self._reference_paths
        fields = {name: value for name, value in values.items() if value is not None}
        return {**fields, **self._served_by}

    @property
    def _reference_paths(self) -> str | None:
        """The paths of the references as a cell of a file has them."""
        return " ".join(each.path for each in self.references) or None

    @property
    def _served_by(self) -> dict[str, str]:
        return {ENDPOINT_PART: self.model_endpoint} if self.model_endpoint else {}


# The result of parsing a message, and the input of the engine.
Parsed = Prompt | Canary | Failure


def parse(
    body: bytes,
    attributes: Mapping[str, str],
    *,
    origin: str,
    defaults: PromptDefaults,
    check_canary: CheckCanary = refuse_canary,
    find_template: FindTemplate = no_templates,
) -> Parsed:
    """Parse a message or a row of a file.

    Args:
        body: the bytes of the message or row: plain text, or a JSON object.
        attributes: those of the message.
        origin: identifies this delivery: the message id, or `FILE:LINE`. It becomes the id of a
            body that cannot be parsed, and part of the digest of a prompt that asks for new images.
        defaults: the model for prompts that do not name one, and the models they may name.
        check_canary: checks the signature of a canary. By default, no message is one.
        find_template: returns the template of a name. By default, there is none.
    """
    forwarded = forwarded_attributes(attributes)
    template = ""

    def found(name: str) -> PromptTemplate:
        nonlocal template
        of_that_name = find_template(name)
        template = of_that_name.version
        return of_that_name

    try:
        if CANARY_ATTRIBUTE in attributes:
            return _canary(body, attributes, check_canary)
        if len(forwarded.keys() - {REPLAYS_ATTRIBUTE}) > MAX_ATTRIBUTES:
            raise InvalidPromptError(
                f"message has {len(forwarded)} attributes; the limit is {MAX_ATTRIBUTES}, because "
                "the prediction has to carry them too"
            )
        return prompt_of(
            fields_of(body),
            body,
            forwarded,
            origin=origin,
            defaults=defaults,
            find_template=found,
        )
    except TemplateError as error:
        # Whoever puts the template there can replay the prompt.
        failure = invalid(str(error), body, attributes, origin=origin, source=defaults.source)
        return dataclasses.replace(failure, reason=error.reason, retryable=True)
    except InvalidPromptError as error:
        failure = invalid(str(error), body, attributes, origin=origin, source=defaults.source)
        return dataclasses.replace(failure, template=template)


def invalid(
    detail: str, body: bytes, attributes: Mapping[str, str], *, origin: str, source: str
) -> Failure:
    """Return the failure for a body that is not a prompt; its id is made of `origin`."""
    prompt_id = made_id(origin)
    return Failure(
        prompt_id=prompt_id,
        deduplication_key=deduplication_key_of(
            prompt_id, attributes, origin, hashlib.sha256(body).hexdigest()
        ),
        reason=Reason.INVALID_PROMPT,
        detail=detail,
        retryable=False,
        attempts=0,
        body=body,
        attributes=attributes,
        source=source,
    )


def _canary(body: bytes, attributes: Mapping[str, str], check_canary: CheckCanary) -> Canary:
    name = attributes[CANARY_ATTRIBUTE]
    if body:
        raise refused("on a message with a body")
    check_canary(name, attributes.get(SIGNATURE_ATTRIBUTE, ""))
    return Canary(name)


def prompt_of(
    fields: dict[str, Any],
    body: bytes,
    attributes: Mapping[str, str],
    *,
    origin: str,
    defaults: PromptDefaults,
    find_template: FindTemplate = no_templates,
) -> Prompt:
    """Return the prompt that fields describe.

    Args:
        fields: by name, as in a JSON object.
        body: of the message.
        attributes: of the message, without the reserved ones.
        origin: identifies this delivery, as for `parse`.
        defaults: what the job's options set for its prompts.
        find_template: returns the template of a name. By default, there is none.

    Raises:
        InvalidPromptError: they describe none; names the field.
    """
    require_text(fields, defaults.template)
    unknown = sorted(set(fields) - set(FIELD_NAMES))
    if unknown:
        raise InvalidPromptError(
            f"unknown field {quoted(unknown[0])}; expected one of {', '.join(FIELD_NAMES)}"
        )
    text, template = text_and_template(fields, defaults.template, find_template)
    models = defaults.allowed_models
    model = choice(fields, "model", models, option="--allowed_models") or defaults.model
    offer = offer_of(model)
    negative_prompt = fields.get("negative_prompt")
    if negative_prompt is not None:
        negative_prompt = text_of(negative_prompt, "negative_prompt")
        if not offer.negative_prompt:
            raise InvalidPromptError(
                f"field 'negative_prompt': {model} does not support it; write in the prompt what "
                "to leave out"
            )
    reuse = fields.get("reuse")
    if reuse is not None and not isinstance(reuse, bool):
        raise InvalidPromptError(f"field 'reuse': expected true or false, got {quoted(reuse)}")
    given_id = id_of(fields.get("id"))
    deciding: dict[str, Any] = {
        "prompt": text,
        "model": model,
        "images": _images(fields, defaults.max_images_per_prompt),
        "aspect_ratio": offered_value(fields, "aspect_ratio", model, offer.aspect_ratios),
        "image_size": _image_size(fields, model, offer, defaults.allowed_image_sizes),
        "seed": integer(fields, "seed", 0, MAX_SEED),
        "negative_prompt": negative_prompt,
        **_gemini_options(fields, model, offer, defaults),
        ENDPOINT_PART: defaults.endpoint_of(model),
        POSTPROCESS_PART: defaults.postprocess,
    }
    fresh = (given_id or origin) if reuse is False else None
    # By their paths, until the engine has looked up what they hold.
    shown = [each.deciding for each in deciding["references"]] or None
    digest = digest_of({**deciding, "references": shown}, fresh=fresh)
    del deciding["prompt"]
    return Prompt(
        prompt_id=given_id or made_id(digest),
        digest=digest,
        body=body,
        attributes=attributes,
        text=text,
        origin=origin,
        fresh=fresh,
        template=template,
        **deciding,
    )


def _gemini_options(
    fields: dict[str, Any], model: str, offer: Offer, defaults: PromptDefaults
) -> dict[str, Any]:
    """Return the fields that only Gemini models have."""
    if family_of(model) is not Family.GEMINI:
        if fields.get("references") is not None:
            raise InvalidPromptError(
                f"field 'references': {model} takes none, because it does not read Cloud Storage; "
                "name a Gemini model in the field model, or remove the field"
            )
        names = [field.name for field in FIELDS if field.gemini_only]
        for name in names:
            offered_value(fields, name, model, ())
        return {**dict.fromkeys(names), "references": ()}
    instruction = fields.get("system_instruction")
    options = {
        "system_instruction": (
            None if instruction is None else text_of(instruction, "system_instruction")
        ),
        "thinking_level": offered_value(fields, "thinking_level", model, offer.thinking_levels),
        "person_generation": offered_value(fields, "person_generation", model, PERSON_GENERATION),
        "output_format": offered_value(fields, "output_format", model, OUTPUT_FORMATS),
        "output_quality": integer(fields, "output_quality", 1, 100),
        "references": references_of(
            fields, model, offer.max_references, defaults.reference_buckets
        ),
    }
    if options["output_quality"] is not None and options["output_format"] != "jpeg":
        raise InvalidPromptError(
            "field 'output_quality' is only for jpeg; set output_format to jpeg, or remove it"
        )
    return options


def _images(fields: dict[str, Any], maximum: int) -> int:
    option = "--max_images_per_prompt" if maximum < MAX_IMAGES else ""
    return integer(fields, "images", 1, maximum, option=option) or 1


def _image_size(
    fields: dict[str, Any], model: str, offer: Offer, allowed: frozenset[str]
) -> str | None:
    """Return the image size, which the model has to make and the job has to allow."""
    limited = not allowed.issuperset(offer.image_sizes or IMAGE_SIZES)
    if not limited:
        return offered_value(fields, "image_size", model, offer.image_sizes)
    sizes = allowed.intersection(offer.image_sizes or allowed)
    return choice(fields, "image_size", sizes, option="--allowed_image_sizes")
