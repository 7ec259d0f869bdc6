"""The digest of a prompt. test_parse.py tests what does and does not change it."""

import pytest

from beam_jobs.prompts.defaults import PromptDefaults, prompt_defaults
from beam_jobs.prompts.parse import Prompt, parse

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset())


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        ("A fox", "a932986a51d43ebcae2e649670fa9577"),
        (
            '{"prompt": "Лиса", "images": 2, "aspect_ratio": "16:9", "seed": 7}',
            "98a82dd88baf2d49ae1702de2532d72f",
        ),
    ],
)
def test_a_digest_stays_the_same_for_good(body, digest):
    # Images are found by their digest. If this test has to change, everything is paid for again.
    prompt = parse(body.encode(), {}, origin="1", defaults=DEFAULTS)
    assert isinstance(prompt, Prompt)
    assert prompt.digest == digest


ENDPOINT = "projects/my-project/locations/us-central1/endpoints/1"
OTHER_ENDPOINT = "projects/my-project/locations/us-central1/endpoints/2"


def drawn_by(endpoint: str | None, body: str = '{"prompt": "A fox", "model": "flux-1"}') -> Prompt:
    defaults = prompt_defaults(
        model="flux-1",
        model_endpoint=endpoint,
        allowed_models="gemini-3-pro-image",
        source="stream",
    )
    prompt = parse(body.encode(), {}, origin="1", defaults=defaults)
    assert isinstance(prompt, Prompt)
    return prompt


def test_what_serves_the_model_decides_the_image_too():
    # Golden, as above: an endpoint's images are found by it.
    assert drawn_by(ENDPOINT).digest == "57a0673f996b792284131a744dae54c3"
    digests = {drawn_by(endpoint).digest for endpoint in (None, ENDPOINT, OTHER_ENDPOINT)}
    assert len(digests) == 3, "else one model's images would pass for another's of the same name"


def test_what_does_not_serve_a_model_is_not_in_its_digest():
    other = '{"prompt": "A fox", "model": "gemini-3-pro-image"}'
    assert drawn_by(ENDPOINT, other).digest == drawn_by(None, other).digest
    assert "model_endpoint" not in drawn_by(ENDPOINT, other).deciding
    assert "model_endpoint" not in drawn_by(ENDPOINT, other).parameters


def test_a_prompt_cannot_name_what_serves_it():
    body = f'{{"prompt": "A fox", "model_endpoint": "{OTHER_ENDPOINT}"}}'
    defaults = prompt_defaults(model="flux-1", model_endpoint=ENDPOINT, source="stream")
    assert not isinstance(parse(body.encode(), {}, origin="1", defaults=defaults), Prompt)
