"""`python -m beam_jobs models`: the table, and what it says of models that end."""

from datetime import date

import pytest

from beam_jobs.__main__ import main
from beam_jobs.catalog import CATALOG, DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.cli.models import WARN_DAYS, default_ends_soon, show_models

OLD = "gemini-3.1-flash-image"  # may end on Vertex AI on 2027-05-28


def test_the_table_has_every_model_and_needs_no_project(capsys, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{DEFAULT_MODEL} (default)\n")
    assert all(name in text for name in KNOWN_MODELS)
    assert "1K 0.0336  2K 0.0504  4K 0.1134" in text
    assert "x 0.5, 1K only, at global" in text
    assert "priority (x ?)" in text, "an unknown price is shown as unknown"


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2027, 2, 26), None),  # 91 days before
        (date(2027, 2, 27), "may end on Vertex AI on 2027-05-28, in 90 days"),
        (date(2027, 5, 28), "today"),
        (date(2027, 6, 1), "4 days ago"),
    ],
)
def test_a_model_is_marked_from_90_days_before_its_end(today, expected, capsys):
    text = CATALOG[OLD].ending(today, within_days=WARN_DAYS)
    assert text is None if expected is None else expected in str(text)
    assert text is None or f"use {DEFAULT_MODEL}" in text
    show_models(CATALOG, DEFAULT_MODEL, today)
    assert (f"may end on Vertex AI on {date(2027, 5, 28)}" in capsys.readouterr().out) is (
        expected is not None
    )


@pytest.mark.parametrize(
    ("model", "today", "soon"),
    [
        (OLD, date(2027, 4, 27), False),
        (OLD, date(2027, 4, 28), True),
        (OLD, date(2028, 1, 1), True),
        (DEFAULT_MODEL, date(2027, 4, 28), False),
        ("gemini-4-image", date(2027, 4, 28), False),
    ],
)
def test_a_default_that_ends_within_30_days_fails_the_check(model, today, soon, capsys):
    assert default_ends_soon(CATALOG, model, today) is soon
    assert model in capsys.readouterr().out


def test_the_check_is_the_exit_code(monkeypatch):
    monkeypatch.setattr("beam_jobs.cli.commands.models.default_ends_soon", lambda *_: True)
    assert main(["models", "--check"]) == 1
