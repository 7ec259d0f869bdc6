"""Checks a client's request for a batch job.

Where no message of the real service is cited, its words are not documented; the status is.
"""

import re
from collections.abc import Mapping
from typing import Any

from beam_jobs.catalog import CATALOG
from localcloud.rest import ApiError
from localcloud.vertex.batch.job import Order
from localcloud.vertex.behaviour import names_in

_MODEL = re.compile(
    r"(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/@]+)(?:@[^/]+)?"
)
# The API reference: up to 128 characters.
_DISPLAY_NAME_CHARS = 128
# "can be no longer than 64 characters (Unicode codepoints), can only contain lowercase letters,
# numeric characters, underscores and dashes. International characters are allowed."
_LABEL_CHARS = 64
_OBJECT_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]+/.+[^/]")
_FOLDER_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?")


def parse_order(
    body: Mapping[str, Any], location: str, *, retired: str = "", unserved: str = ""
) -> Order:
    """Return what a request's body asks for.

    Args:
        body: a BatchPredictionJob.
        location: where the job is to be.
        retired: comma-separated models that are gone.
        unserved: comma-separated models that batch inference does not serve.

    Raises:
        ApiError: 400, it asks for what there is not; 404, there is no such model.
    """
    display_name = _text(body, "displayName")
    if not display_name or len(display_name) > _DISPLAY_NAME_CHARS:
        raise ApiError(
            400,
            f"display_name: expected 1 to {_DISPLAY_NAME_CHARS} characters, "
            f"got {len(display_name)}",
        )
    for unsupported in ("serviceAccount", "encryptionSpec"):
        # "Custom service accounts and CMEK aren't supported": the page that the package names.
        if body.get(unsupported):
            raise ApiError(400, f"{unsupported} is not supported for publisher models.")
    source = _config(body, "inputConfig", form="instancesFormat", where="gcsSource")
    target = _config(body, "outputConfig", form="predictionsFormat", where="gcsDestination")
    return Order(
        display_name=display_name,
        model=_model(body, location, retired=retired, unserved=unserved),
        input_uri=_input_uri(source.get("uris")),
        output_prefix=_output_prefix(target.get("outputUriPrefix")),
        labels=_labels(body.get("labels")),
    )


def _model(body: Mapping[str, Any], location: str, *, retired: str, unserved: str) -> str:
    given = _text(body, "model")
    match = _MODEL.fullmatch(given)
    if not match:
        raise ApiError(400, f"Do not support model {given!r:.200}; only publisher models.")
    name = match[1]
    if name not in CATALOG or name in names_in(retired):
        raise ApiError(404, f"The PublisherModel {name} does not exist.")
    batch = CATALOG[name].batch
    if batch is None or location not in batch.locations or name in names_in(unserved):
        # https://github.com/googleapis/python-genai/issues/704
        raise ApiError(400, f"Do not support publisher model {name}")
    return name


def _config(body: Mapping[str, Any], field: str, *, form: str, where: str) -> Mapping[str, Any]:
    config = body.get(field)
    if not isinstance(config, dict):
        raise ApiError(400, f"{field}: expected an object.")
    if config.get(form) != "jsonl" or not isinstance(config.get(where), dict):
        raise ApiError(
            400, f"{field}: this stand-in has jsonl with {where} alone, got {sorted(config)}"
        )
    return dict(config[where])


def _input_uri(uris: Any) -> str:
    # Proto's JSON takes one text for a list of one; the page's own example has it so.
    uris = [uris] if isinstance(uris, str) else uris
    if not isinstance(uris, list) or len(uris) != 1:
        raise ApiError(400, "gcs_source.uris: Gemini models accept one file.")
    if not isinstance(uris[0], str) or not _OBJECT_URI.fullmatch(uris[0]):
        raise ApiError(400, f"Invalid Cloud Storage URI: {uris[0]!r:.200}")
    return uris[0]


def _output_prefix(prefix: Any) -> str:
    if not isinstance(prefix, str) or not _FOLDER_URI.fullmatch(prefix):
        raise ApiError(400, f"Invalid Cloud Storage URI: {prefix!r:.200}")
    return prefix


def _labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise ApiError(400, "labels: expected an object of texts.")
    for key, value in labels.items():
        if not isinstance(value, str) or not key or not (_is_label(key) and _is_label(value)):
            raise ApiError(400, f"Invalid label: {key!r:.100}: {value!r:.100}")
    return labels


def _is_label(text: str) -> bool:
    return (
        len(text) <= _LABEL_CHARS
        and text == text.lower()
        and all(letter.isalnum() or letter in "_-" for letter in text)
    )


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise ApiError(400, f"Invalid value at {field!r} (TYPE_STRING), {value!r:.100}")
    return value
