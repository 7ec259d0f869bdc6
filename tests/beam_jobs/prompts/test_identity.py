"""The digest of a prompt. test_parse.py tests what does and does not change it."""

import pytest

from beam_jobs.prompts.parse import Prompt, PromptDefaults, parse

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
