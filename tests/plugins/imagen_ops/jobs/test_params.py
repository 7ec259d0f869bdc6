"""What the fields of forms say."""

import pytest

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS
from imagen_ops.jobs.params import JOB_FIELDS, set_to


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("IMAGEN_BACKFILL_MAX_IMAGES", None, "10,000 (IMAGEN_BACKFILL_MAX_IMAGES)"),
        ("IMAGEN_BACKFILL_MAX_IMAGES", "250000", "250,000 (IMAGEN_BACKFILL_MAX_IMAGES)"),
        ("IMAGEN_BACKFILL_MAX_COST_USD", " 12.5 ", "12.5 (IMAGEN_BACKFILL_MAX_COST_USD)"),
        ("IMAGEN_ALLOWED_MODELS", "a,b", "a,b (IMAGEN_ALLOWED_MODELS)"),
        (
            "IMAGEN_STREAM_MAX_IMAGES_PER_DAY",
            "",
            "no limit (IMAGEN_STREAM_MAX_IMAGES_PER_DAY isn't set)",
        ),
    ],
)
def test_a_description_says_what_is_set_and_where(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, said: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    assert set_to(variable) == said


def test_the_form_names_the_known_models_with_prices_and_takes_others() -> None:
    schema = JOB_FIELDS["model"].schema
    assert schema["examples"][0] == DEFAULT_MODEL
    assert set(schema["examples"]) == set(KNOWN_MODELS)
    assert "enum" not in schema
    for name in KNOWN_MODELS:
        assert f"{name} (0." in schema["description_md"], name
