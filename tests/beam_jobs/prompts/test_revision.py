"""What a custom function can change of a prompt, and what the result is told by."""

import dataclasses
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.identity import made_id
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.references import Reference
from beam_jobs.prompts.revision import FIXED, fields_of_revision, revised
from beam_jobs.prompts.templates import PromptTemplate
from tests.beam_jobs.conftest import GEMINI
from tests.conftest import BUCKET

DEFAULTS = PromptDefaults(GEMINI, frozenset({GEMINI}), reference_buckets=frozenset({BUCKET}))
PromptOf = Callable[..., Prompt]


def changed(original: Prompt, number: int | None = None, **changes: Any) -> Prompt:
    revision = dataclasses.replace(original, **changes)
    fields = fields_of_revision(original, revision)
    return revised(original, fields, DEFAULTS, number=number)


@pytest.mark.parametrize("given", [{}, {"id": "fox-1"}, {"reuse": False}])
def test_an_unchanged_prompt_is_the_same_prompt(prompt_of: PromptOf, given: dict[str, Any]):
    prompt = prompt_of(
        "A fox",
        images=2,
        aspect_ratio="16:9",
        seed=7,
        system_instruction="Oil",
        output_format="jpeg",
        output_quality=80,
        references=[f"gs://{BUCKET}/a.png", {"uri": f"gs://{BUCKET}/b.png", "role": "style"}],
        **given,
    )
    assert changed(prompt) == prompt


def test_what_a_function_changes_decides_the_digest(prompt_of: PromptOf):
    assert changed(prompt_of("Ein Fuchs"), text="A fox") == dataclasses.replace(
        prompt_of("A fox"), body=prompt_of("Ein Fuchs").body
    )


def test_a_given_id_stays_and_a_made_one_is_that_of_the_new_digest(prompt_of: PromptOf):
    assert changed(prompt_of("Ein Fuchs", id="fox-1"), text="A fox").prompt_id == "fox-1"
    other = changed(prompt_of("Ein Fuchs"), text="A fox")
    assert other.prompt_id == made_id(other.digest)


@pytest.mark.parametrize("given", [{}, {"id": "fox-1"}, {"reuse": False}])
def test_several_have_distinct_ids_and_keys_even_if_they_ask_for_the_same(
    prompt_of: PromptOf, given: dict[str, Any]
):
    prompt = prompt_of("A fox", **given)
    siblings = [changed(prompt, number) for number in (1, 2, 3)]
    again = [changed(prompt, number) for number in (1, 2, 3)]
    assert siblings == again
    assert [each.prompt_id for each in siblings] == [f"{prompt.prompt_id}#{n}" for n in (1, 2, 3)]
    assert len({each.deduplication_key for each in siblings}) == 3
    # New images were asked for, so each gets its own; otherwise they share one.
    assert len({each.digest for each in siblings}) == (3 if prompt.fresh else 1)


def test_no_sender_can_give_the_id_of_a_sibling():
    sent = parse(b'{"prompt": "x", "id": "fox-1#2"}', {}, origin="m", defaults=DEFAULTS)
    assert "'id'" in getattr(sent, "detail", "")


@pytest.mark.parametrize("name", FIXED)
def test_what_the_job_decides_cannot_be_changed(prompt_of: PromptOf, name: str):
    value: Any = {"body": b"x", "attributes": {"team": "other"}}.get(name, "other")
    with pytest.raises(InvalidPromptError, match=f"{name} was changed"):
        changed(prompt_of("A fox"), **{name: value})


def test_attributes_that_are_a_view_are_unchanged_ones(prompt_of: PromptOf):
    prompt = prompt_of("A fox")
    assert changed(prompt, attributes=MappingProxyType({"team": "ads"})) == prompt


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": ""}, "'prompt' is empty"),
        ({"text": None}, "'prompt'"),
        ({"text": "None"}, "stands for no value"),
        ({"text": "x" * 8001}, "8,001 characters"),
        ({"text": "\ud800"}, "lone surrogate"),
        ({"text": b"A fox"}, "no JSON"),
        ({"images": 5}, "'images'"),
        ({"images": float("nan")}, "no JSON"),
        ({"model": "gpt-image-1"}, "'model'"),
        ({"seed": {1, 2}}, "no JSON"),
        ({"aspect_ratio": "7:3"}, "'aspect_ratio'"),
        ({"references": (Reference("gs://elsewhere/a.png"),)}, "--reference_buckets"),
        ({"references": "gs://elsewhere/a.png"}, "--reference_buckets"),
    ],
)
def test_a_field_is_checked_as_if_a_sender_had_sent_it(
    prompt_of: PromptOf, changes: dict[str, Any], said: str
):
    with pytest.raises(InvalidPromptError, match=said):
        changed(prompt_of("A fox"), **changes)


def test_a_template_is_filled_once():
    filled = PromptTemplate.parse("brace@1", b"{{{prompt}}}")
    prompt = parse(
        b"a fox",
        {},
        origin="m",
        defaults=dataclasses.replace(DEFAULTS, template="brace"),
        find_template=lambda _: filled,
    )
    assert isinstance(prompt, Prompt)
    assert prompt.text == "{a fox}"
    defaults = dataclasses.replace(DEFAULTS, template="brace")
    assert revised(prompt, fields_of_revision(prompt, prompt), defaults) == prompt
    other = dataclasses.replace(prompt, text="An owl")
    revision = revised(prompt, fields_of_revision(prompt, other), defaults)
    assert (revision.text, revision.template) == ("An owl", "brace@1")
