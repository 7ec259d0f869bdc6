"""What a custom function can make of an image."""

from typing import Any

import pytest

from beam_jobs.custom import postprocess
from beam_jobs.custom.function import CustomFunction, CustomFunctionError, Refusal
from beam_jobs.custom.postprocess import Postprocess
from tests.pictures import png

PNG = png()
FUNCTION = CustomFunction.named("--postprocess", "tests.custom_functions:signed")


def made(monkeypatch: pytest.MonkeyPatch, returned: Any) -> Any:
    monkeypatch.setattr(CustomFunction, "load", lambda _: lambda _: returned)
    return Postprocess(FUNCTION).image(PNG)


def test_an_image_comes_back_as_the_function_has_made_it():
    image = Postprocess(FUNCTION).image(PNG)
    assert not isinstance(image, Refusal)
    assert image.data == PNG + b"signed"
    assert (image.extension, image.mime_type) == ("png", "image/png")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_its_bytes_can_have_any_form(monkeypatch: pytest.MonkeyPatch, kind: Any):
    assert made(monkeypatch, kind(PNG)).data == PNG


def test_a_refusal_says_whose_it_is(monkeypatch: pytest.MonkeyPatch):
    said = "image refused by --postprocess tests.custom_functions:signed: shows a face"
    assert made(monkeypatch, Refusal("shows a face")) == Refusal(said)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned NoneType; expected bytes, or a Refusal"),
        ("text", "returned str; expected bytes"),
        (b"", "returned 0 bytes that are not a PNG, JPEG or WebP image"),
        (b"GIF89a", "that are not a PNG, JPEG or WebP image"),
        (PNG[:-20], "of a PNG image that breaks off before its end"),
        (Refusal(7), "returned a Refusal whose detail is no text"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_image_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, returned: Any, said: str
):
    with pytest.raises(CustomFunctionError) as error:
        made(monkeypatch, returned)
    assert said in str(error.value)
    assert "correct it, deploy it, and then replay the prompt" in str(error.value)


def test_an_image_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postprocess, "MAX_BYTES", len(PNG))
    assert made(monkeypatch, PNG).data == PNG
    with pytest.raises(CustomFunctionError, match=r"bytes; the limit is"):
        made(monkeypatch, PNG + b"x")
