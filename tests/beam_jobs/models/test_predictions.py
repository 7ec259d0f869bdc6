"""The shapes in which containers behind `:predict` answer."""

import base64

import pytest

from beam_jobs.models.base import CallError, Retry
from beam_jobs.models.predictions import images
from beam_jobs.outcomes import Reason
from tests.pictures import encoded, png

ONE, TWO = png(b"one"), encoded("JPEG")


def b64(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        # Imagen.
        ([{"mimeType": "image/png", "bytesBase64Encoded": b64(ONE)}], [ONE]),
        # FLUX, HiDream, Qwen-Image and Stable Diffusion XL in Model Garden.
        ([{"output": b64(ONE)}], [ONE]),
        ([{"output": b64(ONE)}, {"output": b64(TWO)}], [ONE, TWO]),
        # Stable Diffusion in TorchServe and in JAX; Hugging Face's FLUX.
        ([b64(ONE)], [ONE]),
        # Stable Diffusion in Keras.
        ([{"predicted_image": [b64(ONE)]}], [ONE]),
        # Nested, or under other names.
        ([{"image": b64(ONE)}], [ONE]),
        ([{"images": [b64(ONE), b64(TWO)]}], [ONE, TWO]),
        ([{"images": [{"image": b64(ONE)}, {"b64_json": b64(TWO)}]}], [ONE, TWO]),
        ([{"artifacts": [{"base64": b64(ONE), "finishReason": "SUCCESS", "seed": 1}]}], [ONE]),
        ([[b64(ONE), b64(TWO)]], [ONE, TWO]),
        ([[[b64(ONE)]], [[b64(TWO)]]], [ONE, TWO]),
        ([{"output": {"images": [b64(ONE)]}}], [ONE]),
        ([{"picture": b64(ONE), "mime": "image/png", "steps": 4}], [ONE]),
        ([{"output": f"data:image/png;base64,{b64(ONE)}"}], [ONE]),
        ({"output": b64(ONE)}, [ONE]),
        (b64(ONE), [ONE]),
        # A known name that holds something else hides no picture, nor does one of two names.
        ([{"data": "text", "result": b64(ONE)}], [ONE]),
        ([{"output": "done", "image": b64(ONE)}], [ONE]),
        ([{"output": {"text": "done"}, "result": [b64(ONE), b64(TWO)]}], [ONE, TWO]),
        ([{"data": 7, "result": {"png": b64(ONE)}}], [ONE]),
        ([{"image": b64(ONE), "preview": b64(TWO)}], [ONE]),
        # One that is none costs no good one.
        ([b64(b"no picture"), b64(ONE), "!", b64(TWO)[:100]], [ONE]),
        ([{"raiFilteredReason": "withheld"}, {"bytesBase64Encoded": b64(ONE)}], [ONE]),
    ],
)
def test_pictures_are_found_in_every_shape_in_order(predictions, expected):
    assert [image.data for image in images(predictions)] == expected


@pytest.mark.parametrize(
    ("predictions", "says"),
    [
        ([], "0 predictions, none with an image"),
        (None, "0 predictions"),
        ([{}, 1.5, None, [1], True], "5 predictions"),
        ([{"output": "", "error": "CUDA out of memory"}], "it says: CUDA out of memory"),
        (["CUDA out of memory"], "it says: CUDA out of memory"),
        ([{"output": "CUDA out of memory"}], "it says: CUDA out of memory"),
        ([{"output": b64(TWO)[:100]}], "a JPEG image that breaks off"),
        ([{"output": b64(b"no picture")}], "not a PNG, JPEG or WebP"),
        ([{"output": "iVBORw0KGgo!"}], "not base64"),
        ([{"image": 7}], "none with an image"),
        # A preview is not the image, even if the image is of a format that is not stored.
        ([{"image": b64(b"GIF89a" * 99), "preview": b64(ONE)}], "they start with 474946"),
        # Words that are base64 by chance.
        (["NSFW"], "it says: NSFW"),
        (["filtered"], "it says: filtered"),
        ([{"output": "blocked!"}], "it says: blocked!"),
        ([{"output": "safe"}, {"output": "NSFW"}], "it says: safe NSFW"),
        # A picture that is elsewhere.
        (
            [{"url": "https://example.com/a.png"}],
            "none with an image; its fields are 'url'; expected",
        ),
        ([{"gcsUri": "gs://a/b.png", "mimeType": "image/png"}], "are 'gcsUri', 'mimeType'"),
        ([[{"url": "a"}, {"url": "b"}]], "fields are 'url';"),
        ([{f"f{n}": n for n in range(99)}], "'f7', …"),
    ],
)
def test_an_answer_without_a_picture_says_what_the_container_says(predictions, says):
    with pytest.raises(CallError) as caught:
        images(predictions)
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)
    assert says in caught.value.detail


def test_when_all_is_withheld_the_reason_is_told():
    with pytest.raises(CallError) as caught:
        images([{}, {"raiFilteredReason": "withheld"}, {"x": 1}])
    assert (caught.value.reason, caught.value.detail) == (Reason.BLOCKED, "image refused: withheld")
