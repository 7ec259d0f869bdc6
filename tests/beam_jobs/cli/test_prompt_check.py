"""What no job accepts is found before it is sent, and nothing else."""

import json

import pytest

from beam_jobs.cli.prompt_check import MAX_SHOWN, problem_of, refusal
from beam_jobs.outcomes import CANARY_ATTRIBUTE


def body(**fields):
    return json.dumps(fields).encode()


def test_a_prompt_that_one_kind_of_model_takes_is_in_order():
    assert problem_of(body(prompt="a fox", negative_prompt="snow"), {}) is None
    assert problem_of(body(prompt="a fox", thinking_level="high"), {}) is None


def test_what_no_kind_of_model_takes_is_a_problem():
    both = body(prompt="a fox", negative_prompt="snow", thinking_level="high")
    assert "field 'negative_prompt'" in problem_of(both, {})


def test_a_named_model_decides_what_it_takes():
    named = body(prompt="a fox", model="imagen-9", thinking_level="high")
    assert "imagen-9 does not have it" in problem_of(named, {})
    assert problem_of(body(prompt="a fox", model="no model"), {}).startswith("field 'model'")


def test_a_template_is_not_read_but_all_else_is_checked():
    templated = {"template": "studio", "vars": {"product": "a shoe"}}
    assert problem_of(body(**templated), {}) is None
    assert "field 'images'" in problem_of(body(**templated, images=9), {})
    assert "field 'images'" in problem_of(body(images=9), {}, templated=True)


def test_values_without_a_template_are_for_that_of_the_job():
    assert problem_of(body(vars={"product": "a shoe"}), {}) is None


def test_a_canary_is_left_to_the_job_which_has_the_key():
    assert problem_of(b"", {CANARY_ATTRIBUTE: "1"}) is None
    assert problem_of(b"", {}) == "field 'prompt' is empty"


@pytest.mark.parametrize(
    ("count", "lines"), [(1, 1), (2, 3), (MAX_SHOWN, MAX_SHOWN + 1), (1_000_000, MAX_SHOWN + 2)]
)
def test_a_refusal_shows_the_first_problems_and_what_to_do(count, lines):
    said = str(refusal(["p.csv:1: no"] * count, advice="mend it")).splitlines()
    assert (len(said), said[-1].endswith("mend it")) == (lines, True)
    assert any("and 999,980 more" in line for line in said) == (count == 1_000_000)
