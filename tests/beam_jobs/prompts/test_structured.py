"""What texts were meant as; test_parse.py has what becomes of them."""

import pytest

from beam_jobs.prompts.structured import kind_of, seen, stands_for_no_value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a fox", None),
        ("", None),
        ("{a fox|an owl}", None),
        ("\u200b{'prompt': 'a fox'}", "JSON"),
        ("{prompt=a fox}", "a printed map"),
        ("Prompt(prompt='a fox')", "a printed object"),
        ("[object Object]", "a printed object without its fields"),
        ("prompt=a+fox&id=x", "a web form's data"),
        ("eyJwcm9tcHQiOiAiYSBmb3gifQ==", "base64"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_the_kind_of_a_text_is_told_by_its_beginning(text, kind):
    assert kind_of(text) == kind


def test_only_what_comes_before_a_text_is_taken_away():
    assert seen("\u2060 \ufeffï»¿a\u200b fox") == "a\u200b fox"


def test_a_word_for_no_value_is_one_only_if_it_is_alone():
    assert stands_for_no_value("NaN")
    assert not stands_for_no_value("nan bread")
