"""The catalog of models: its rows, what is checked of them, and what they cost."""

import json
import re
from datetime import date

import pytest
from google.genai import types

from beam_jobs import catalog
from beam_jobs.catalog import (
    BATCH_TIER,
    CATALOG,
    DEFAULT_MODEL,
    KNOWN_MODELS,
    Family,
    Tier,
    family_of,
    offer_of,
    usd_per_image,
)
from beam_jobs.catalog_rows import CatalogError, parse_catalog

TEXT = catalog._FILE.read_text("utf-8")
BATCH = json.loads(TEXT)["models"][1]["batch"]
with_each_model = pytest.mark.parametrize("name", KNOWN_MODELS)


@with_each_model
def test_every_row_says_where_it_comes_from_and_when_it_was_looked_up(name):
    row = CATALOG[name]
    assert row.sources
    assert all(source.startswith("https://") for source in row.sources)
    assert date(2026, 1, 1) < row.looked_up <= date.today()
    for end in row.ends:
        assert end.source.startswith("https://")
        assert end.looked_up <= date.today()


@with_each_model
def test_every_model_makes_squares_of_1k_and_has_a_price(name):
    row = CATALOG[name]
    assert "1:1" in row.aspect_ratios
    assert row.default_size in row.image_tokens
    assert 0 < (row.usd_per_image(None) or 0) < 1


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("gemini-nano-banana-2.1", {"1K": 0.0336, "2K": 0.0504, "4K": 0.1134}),
        ("gemini-3.1-flash-image", {"512": 0.0448, "1K": 0.0672, "2K": 0.1008, "4K": 0.1512}),
        ("gemini-3-pro-image", {"1K": 0.1344, "2K": 0.1344, "4K": 0.24}),
    ],
)
def test_an_image_costs_what_the_price_page_says(name, usd):
    assert {size: usd_per_image(name, size) for size in usd} == pytest.approx(usd, abs=5e-5)


def test_flex_is_half_the_price_and_an_unknown_price_is_unknown():
    assert usd_per_image(DEFAULT_MODEL, "1K", "flex") == pytest.approx(0.0168)
    assert usd_per_image(DEFAULT_MODEL, "1K", "priority") is None
    assert usd_per_image(DEFAULT_MODEL, "512") is None
    assert usd_per_image("gemini-4-image") is None


@with_each_model
def test_batch_inference_serves_every_model_at_half_the_price_and_in_1k_only(name):
    batch = CATALOG[name].batch
    assert batch is not None
    assert (batch.price, batch.sizes, batch.locations) == (0.5, ("1K",), ("global",))
    assert batch.sources


def test_batch_inference_has_its_own_price_for_the_sizes_that_are_known():
    row = CATALOG[DEFAULT_MODEL]
    assert row.usd_per_image("1K", BATCH_TIER) == pytest.approx(0.0168)
    call = {"input_tokens": 100, "thinking_level": None}
    standard, batch = row.usd_per_call(None, **call), row.usd_per_call(None, BATCH_TIER, **call)
    assert batch == pytest.approx((standard or 0) / 2)
    without = row.model_copy(update={"batch": None})
    assert without.usd_per_image("1K", BATCH_TIER) is None
    assert "batch" not in list(Tier), "no call can ask for it"


def test_a_row_may_say_that_batch_inference_does_not_serve_the_model():
    content = json.loads(TEXT)
    content["models"][1]["batch"] = None
    assert parse_catalog(json.dumps(content), "x.json")[1]["gemini-3.1-flash-image"].batch is None


def test_the_earliest_end_on_a_platform_counts():
    assert CATALOG[DEFAULT_MODEL].end_on() is None
    end = CATALOG["gemini-3.1-flash-image"].end_on("developer")
    assert end is not None
    assert end.on == date(2026, 10, 29)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        *((model, Family.GEMINI) for model in KNOWN_MODELS),
        ("gemini-4-image", Family.GEMINI),
        ("imagen-4.0-generate-001", Family.PREDICT),
        ("flux-1", Family.PREDICT),
        ("my-gemini-copy", Family.PREDICT),
    ],
)
def test_a_row_or_the_name_tells_the_api(model, family):
    assert family_of(model) is family


def test_a_model_without_a_row_is_unchecked_if_it_is_geminis():
    assert offer_of("gemini-4-image").image_sizes is None
    assert offer_of("flux-1").image_sizes == ("1K", "2K")
    assert offer_of(DEFAULT_MODEL).image_sizes == ("1K", "2K", "4K")


def test_google_genai_lists_each_value_that_is_offered_for_gemini():
    fields = types.ImageConfig.model_fields
    ratios = set(re.findall(r'"(\d+:\d+)"', str(fields["aspect_ratio"].description)))
    sizes = str(fields["image_size"].description)
    # Its lists are older than the newest models, which make more.
    newer = {"2:3", "3:2", "4:5", "5:4", "1:4", "4:1", "1:8", "8:1"}
    for row in CATALOG.values():
        assert set(row.aspect_ratios) - ratios <= newer
        assert [size for size in row.image_tokens if size not in sizes] in ([], ["512"])


def broken(row: int, field: str, value: object) -> str:
    content = json.loads(TEXT)
    if value is None:
        del content["models"][row][field]
    else:
        content["models"][row][field] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("looked_up", None, "looked_up: Field required, got nothing"),
        ("sources", [], "sources: expected at least one"),
        ("sources", ["a page"], "sources.0: "),
        ("image_tokens", {"1K": 0}, "image_tokens.1K: "),
        ("image_tokens", {"huge": 9}, "image_tokens.huge"),
        ("tiers", {"flex": 1}, "tiers: expected standard with 1"),
        ("batch", None, "batch: Field required, got nothing"),
        ("batch", {**BATCH, "sizes": ["8K"]}, "batch.sizes: expected some of 512, 1K, 2K, 4K"),
        ("batch", {**BATCH, "locations": []}, "batch.locations: "),
        ("batch", {**BATCH, "price": 0}, "batch.price: "),
        ("default_thinking_level", "low", "default_thinking_level: expected one of minimal, high"),
        ("thinking_tokens", {"minimal": 60}, "thinking_tokens: expected one number for each of"),
        ("since", "last year", "since: "),
        ("colour", "red", "colour: "),
    ],
)
def test_a_malformed_row_is_named_with_its_file_and_field(field, value, expected):
    with pytest.raises(CatalogError) as error:
        parse_catalog(broken(1, field, value), "catalog.json")
    [line] = str(error.value).splitlines()
    assert line.startswith("catalog.json: row 2 (gemini-3.1-flash-image), ")
    assert expected in line


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"default_model": 1, "models": 2}', "{"])
def test_what_is_no_catalog_is_refused_with_its_file(text):
    with pytest.raises(CatalogError, match=r"^catalog\.json: "):
        parse_catalog(text, "catalog.json")


def test_a_name_without_a_row_is_refused():
    with pytest.raises(CatalogError, match="'gone' is named"):
        parse_catalog(broken(1, "successor", "gone"), "catalog.json")
    with pytest.raises(CatalogError, match="same name"):
        parse_catalog(broken(1, "name", DEFAULT_MODEL), "catalog.json")
