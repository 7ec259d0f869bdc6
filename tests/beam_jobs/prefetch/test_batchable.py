import pytest

from beam_jobs.catalog import CATALOG, DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.prefetch import batchable
from beam_jobs.prefetch.batchable import LeftOut, batch_locations, location_of, why_not


@pytest.mark.parametrize(
    ("model", "size", "given", "reason"),
    [
        (DEFAULT_MODEL, None, {}, None),
        (DEFAULT_MODEL, "1K", {}, None),
        (DEFAULT_MODEL, "2K", {}, LeftOut.SIZE),
        (DEFAULT_MODEL, "4K", {}, LeftOut.SIZE),
        (DEFAULT_MODEL, None, {"locations": ("eu",)}, LeftOut.LOCATION),
        (DEFAULT_MODEL, None, {"locations": ("eu", "global")}, None),
        (DEFAULT_MODEL, None, {"endpoint": "projects/p/…"}, LeftOut.ENDPOINT),
        ("gemini-9-image", None, {}, LeftOut.MODEL),
        ("imagen-4.0-generate-001", None, {}, LeftOut.MODEL),
        ("flux", None, {}, LeftOut.MODEL),
    ],
)
def test_a_batch_makes_what_the_catalog_says_and_nothing_else(model, size, given, reason):
    arguments = {"endpoint": None, "locations": ("global",), **given}
    assert why_not(model, size, **arguments) is reason


def test_a_model_that_is_known_to_have_no_batch_is_not_asked_for_one(monkeypatch):
    row = CATALOG[DEFAULT_MODEL].model_copy(update={"batch": None})
    monkeypatch.setattr(batchable, "CATALOG", {DEFAULT_MODEL: row})
    assert why_not(DEFAULT_MODEL, None, endpoint=None, locations=("global",)) is LeftOut.MODEL


@pytest.mark.parametrize("model", KNOWN_MODELS)
def test_a_batch_is_created_where_the_job_may_call_its_model(model):
    assert location_of(model, batch_locations(None)) == "global"
    assert location_of(model, batch_locations("us, global,eu")) == "global"
    assert location_of(model, batch_locations("eu")) is None
