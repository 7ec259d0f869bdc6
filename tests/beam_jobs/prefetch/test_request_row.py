"""Requests on lines ask for what calls ask for, and are known again when they come back."""

import asyncio
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.catalog import KNOWN_MODELS, offer_of
from beam_jobs.images.receipt import payer_of
from beam_jobs.models.base import CallError, no_image_error
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.prefetch.request_row import LABEL, contents_hash, label_of, rows_of
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import OUTPUT_FORMATS, PERSON_GENERATION, Prompt, parse
from tests.conftest import BUCKET

texts = st.text(min_size=1, max_size=40)


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    """Any prompt that the parser takes for a known model."""
    model = draw(st.sampled_from(KNOWN_MODELS))
    offer = offer_of(model)
    fields = draw(
        st.fixed_dictionaries(
            {"prompt": texts},
            optional={
                "images": st.integers(1, 4),
                "aspect_ratio": st.sampled_from(offer.aspect_ratios or ()),
                "image_size": st.sampled_from(offer.image_sizes or ()),
                "seed": st.integers(0, 2**31 - 1),
                "system_instruction": texts,
                "person_generation": st.sampled_from(PERSON_GENERATION),
                "output_format": st.sampled_from(OUTPUT_FORMATS),
                "references": st.lists(
                    st.fixed_dictionaries(
                        {"uri": st.from_regex(r"gs://own-b/[a-z]{1,8}\.png", fullmatch=True)},
                        optional={"role": texts},
                    ),
                    max_size=offer.max_references,
                ),
                "reuse": st.booleans(),
            },
        )
    )
    if offer.thinking_levels and draw(st.booleans()):
        fields["thinking_level"] = draw(st.sampled_from(offer.thinking_levels))
    defaults = PromptDefaults(
        model=model, allowed_models=frozenset(KNOWN_MODELS), reference_buckets=frozenset({"own-b"})
    )
    item = parse(json.dumps(fields).encode(), {}, origin="gs://b/f:1", defaults=defaults)
    if not isinstance(item, Prompt):  # such as of white space alone
        return draw(prompts())
    return item


def sent(prompt: Prompt, index: int) -> Any:
    """Return the body of the call that the adapter sends for one image."""
    bodies: list[Any] = []

    async def async_request(_method: str, _path: str, body: Any) -> Any:
        bodies.append(body)
        raise no_image_error("nobody answers")

    model = object.__new__(GeminiModel)
    model._path = "path"
    model._http = SimpleNamespace(async_request=async_request)  # type: ignore[assignment]
    with pytest.raises(CallError):
        asyncio.run(model.generate(prompt, first=index, count=1))
    return bodies[0]


@settings(max_examples=60, deadline=None)
@given(prompt=prompts())
def test_a_row_asks_for_what_a_call_for_that_image_asks_for(prompt):
    rows = list(rows_of(prompt, "backfill:run"))
    assert len(rows) == prompt.images
    for index, (line, known) in enumerate(rows):
        assert line.endswith(b"\n")
        assert len(line.splitlines()) == 1
        row = json.loads(line)
        assert row.keys() == {"request"}
        labels = row["request"].pop("labels")
        assert row["request"] == json.loads(json.dumps(sent(prompt, index)))
        assert labels == {LABEL: f"{prompt.digest}-{index}"}
        assert all(
            re.fullmatch(r"[a-z0-9_-]{1,63}", text) for each in labels.items() for text in each
        )
        assert (known.image, known.index, known.images) == (labels[LABEL], index, prompt.images)
        assert known.payer == payer_of("backfill:run", "gs://b/f:1")
        assert known.request == contents_hash(row["request"])


def test_an_echo_is_known_again_however_the_service_writes_it(prompt_of):
    prompt = prompt_of("a fox", references=[{"uri": f"gs://{BUCKET}/r.png", "role": "the style"}])
    ((line, known),) = rows_of(prompt, "stream")
    request = json.loads(line)["request"]
    assert label_of(request) == known.image
    written = {
        "contents": [
            {
                "parts": [
                    {"text": "the style", "thought": False},
                    {"file_data": {"file_uri": f"gs://{BUCKET}/r.png", "mime_type": "image/png"}},
                    {"text": "a fox"},
                ]
            }
        ],
        "generation_config": {"candidateCount": 1},
    }
    assert contents_hash(written) == known.request


@pytest.mark.parametrize(
    "contents",
    [
        [{"parts": [{"text": "the style"}, {"text": "a fox"}]}],
        [{"parts": [{"text": "a fox"}]}],
        [{"parts": [{"text": "a"}, {"text": " fox"}]}],
        [],
        None,
        [None],
        {"parts": "a fox"},
    ],
)
def test_an_echo_with_other_contents_is_another_request(contents, prompt_of):
    prompt = prompt_of("a fox", references=[f"gs://{BUCKET}/r.png"])
    ((_, known),) = rows_of(prompt, "stream")
    assert contents_hash({"contents": contents}) != known.request


@pytest.mark.parametrize("request_", [None, [], {}, {"labels": []}, {"labels": {LABEL: 1}}])
def test_an_echo_without_a_label_has_none(request_):
    assert label_of(request_) is None
    contents_hash(request_)  # and is no error
