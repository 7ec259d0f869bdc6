"""Reads the predictions of a `:predict` answer, whatever container they come from. Pure.

An endpoint passes `instances` and `parameters` to its container, and the container's `predictions`
back, so that each container has fields and shapes of its own. These are known from public
notebooks: in GoogleCloudPlatform/vertex-ai-samples, `notebooks/community/model_garden/`
(`model_garden_pytorch_` for all but two); and in huggingface/Google-Cloud-Containers.

| container | instance | a prediction |
|---|---|---|
| Imagen | `{"prompt"}` | `{"bytesBase64Encoded", "mimeType"}` or `{"raiFilteredReason"}` |
| `flux`, `hidream_i1`, `qwen_image`, `stable_diffusion_xl_*` | `{"text"}` | `{"output"}` |
| `docker_source_codes/diffusers`, TorchServe's Stable Diffusion | `{"prompt"}` | base64 |
| `model_garden_jax_stable_diffusion_xl` | `{"prompt"}` | base64 |
| `model_garden_keras_stable_diffusion` | `{"prompt"}` | `{"predicted_image": [base64]}` |
| Hugging Face's `deploy-flux-on-vertex-ai` | the text itself | base64 |

Those that are not Imagen's call their parameters as Diffusers does, and most return one picture for
each instance, whatever `sampleCount` says.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from beam_jobs.models.base import (
    CallError,
    Image,
    blocked_error,
    image_from_bytes,
    no_image_error,
    quote_words,
)
from beam_jobs.models.pictures import decode_base64, looks_like_picture

# The keys of a prediction that hold its picture or pictures, most usual first. The first four are
# those of the table above.
_PICTURE_KEYS = (
    "bytesBase64Encoded",
    "output",
    "predicted_image",
    "image",
    "images",
    "generated_image",
    "generated_images",
    "image_base64",
    "b64_json",
    "base64",
    "artifacts",
    "data",
)
# The keys of a prediction that say why it holds none.
_WORD_KEYS = ("error", "message", "detail", "text")
# A PNG has 67 bytes or more (https://www.w3.org/TR/png-3/), which is 92 characters, and pictures of
# the other formats that a model makes have hundreds.
_MIN_PICTURE_CHARS = 90
# How many names of fields an error quotes, and how much of each.
_MAX_FIELDS = 8
_MAX_FIELD_CHARS = 30


def images(predictions: Any) -> list[Image]:
    """Return the images among `predictions`, in order.

    Raises:
        CallError: all images were refused, or there are none.
    """
    found: list[Image] = []
    said: list[str] = []
    broken: CallError | None = None
    for text in _pictures(predictions):
        try:
            found.append(image_from_bytes(decode_base64(text)))
        except ValueError as error:  # binascii.Error is one
            if looks_like_picture(text):
                broken = no_image_error(f"model's answer is not base64: {error}")
            else:
                said.append(text)
        except CallError as error:
            broken = error
            if _are_words(text):
                said.append(text)
    if found:  # they are paid for, even if the other images failed
        return found
    if broken:
        words = quote_words(*said, *_texts(predictions, _WORD_KEYS))
        raise no_image_error(broken.detail + words)
    if refused := list(_texts(predictions, ("raiFilteredReason",))):
        raise blocked_error(f"image refused: {refused[-1]}")
    count = len(predictions) if isinstance(predictions, list) else int(predictions is not None)
    raise no_image_error(
        f"model answered {count} predictions, none with an image{_named(_fields(predictions))}"
        f"{quote_words(*said, *_texts(predictions, _WORD_KEYS))}"
    )


def _pictures(prediction: Any) -> Iterator[str]:
    """Yield the base64 texts in a prediction, or in a list of any depth.

    An object holds them under a known key, or else under any other whose text begins as a picture.
    Failing that, what is under the first known key is yielded.
    """
    if isinstance(prediction, str):
        if prediction:
            yield prediction
    elif isinstance(prediction, list):
        for each in prediction:
            yield from _pictures(each)
    elif isinstance(prediction, Mapping):
        keys = [key for key in _PICTURE_KEYS if prediction.get(key)]
        for key in keys:
            texts = list(_pictures(prediction[key]))
            if not all(_are_words(text) for text in texts):
                yield from texts
                return
        others = [
            text
            for key, value in prediction.items()
            if key not in _PICTURE_KEYS
            for text in _pictures(value)
            if not isinstance(value, str) or looks_like_picture(value)
        ]
        if keys and not any(looks_like_picture(text) for text in others):
            others = list(_pictures(prediction[keys[0]]))
        yield from others


def _are_words(text: str) -> bool:
    """Return whether `text` holds no picture of any format. "NSFW" is base64, but too short."""
    if looks_like_picture(text):
        return False
    if len(text) < _MIN_PICTURE_CHARS:
        return True
    try:
        decode_base64(text)
    except ValueError:
        return True
    return False


def _fields(prediction: Any) -> Iterator[str]:
    """Yield the names of the fields in a prediction, or in a list of any depth."""
    if isinstance(prediction, list):
        for each in prediction:
            yield from _fields(each)
    elif isinstance(prediction, Mapping):
        yield from map(str, prediction)


def _named(fields: Iterator[str]) -> str:
    names = list(dict.fromkeys(fields))
    if not names:
        return ""
    more = ", …" if len(names) > _MAX_FIELDS else ""
    named = ", ".join(repr(name[:_MAX_FIELD_CHARS]) for name in names[:_MAX_FIELDS])
    return f"; its fields are {named}{more}; expected one with the image as base64"


def _texts(prediction: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts under `keys` in a prediction, or in a list of any depth."""
    if isinstance(prediction, list):
        for each in prediction:
            yield from _texts(each, keys)
    elif isinstance(prediction, Mapping):
        for key in keys:
            if isinstance(text := prediction.get(key), str) and text:
                yield text
