"""Names from outside are shown on one line, as they are, and never as an alert."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.shown import ALERT_MARK, is_safe, shown, shown_value, shown_words


@pytest.mark.parametrize(
    "text", ["prompts/a b.csv", "prompts/über-狐.txt", "🦊.txt", "a\\b", "'\""]
)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert shown(text) == text
    assert is_safe(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb\r", r"a\nb\r"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\u202egnp.txt", r"\u202egnp.txt"),
        ("\u200b\ufeff", r"\u200b\ufeff"),
        ("half an emoji \ud83e", r"half an emoji \ud83e"),
        ("imagen.alert/1", r"imagen.alert\x2f1"),
        ("IMAGEN.Alert/1:run_failed", r"IMAGEN.Alert\x2f1:run_failed"),
    ],
)
def test_what_could_forge_a_line_is_escaped(text: str, escaped: str) -> None:
    assert shown(text) == escaped
    assert not is_safe(text)


@given(st.text())
def test_no_text_is_two_lines_or_an_alert(text: str) -> None:
    safe = shown(f"{text}imagen.alert/{text}")
    assert len(safe.splitlines()) == 1
    assert ALERT_MARK not in safe.lower()
    assert not {unicodedata.category(char) for char in safe} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "unsafe",
    ["\x1b[2J", "\x07", "\x9b31m", "\r", "\u202e", "\u2066", "\ud800", "\u2028", "\x7f"],
    ids=ascii,
)
def test_a_persons_words_cannot_control_the_terminal(unsafe: str) -> None:
    said = shown_words(f"a{unsafe}b")
    assert unsafe[0] not in said
    assert (said[:2], said[-1]) == ("a\\", "b")
    said.encode("utf-8")


def test_a_persons_words_of_every_script_stay_as_they_are() -> None:
    text = "naïve 狐狸 ثعلب שועל 👩‍👩‍👧 ﷺ می‌خواهم"
    assert shown_words(text) == text
    assert shown_words(text, 5) == "naïv…"
    assert shown_words("\n" * 9, 9) == r"\n\n\n\n…"
    assert not is_safe("👩‍👧")


def test_a_mark_cannot_be_made_of_what_is_escaped() -> None:
    assert ALERT_MARK not in shown("imagen.al\u200bert/1")
    assert ALERT_MARK not in shown("imagen.imagen.alert/alert/1")


def test_a_long_text_is_cut_off() -> None:
    assert shown("a" * 20, 10) == "a" * 9 + "…"
    assert shown("a" * 10, 10) == "a" * 10


def test_in_json_only_the_mark_is_broken() -> None:
    assert shown_value({"imagen.alert/1": ["a\n", 1, None, {"x": "imagen.alert/1"}]}) == {
        r"imagen.alert\x2f1": ["a\n", 1, None, {"x": r"imagen.alert\x2f1"}]
    }
