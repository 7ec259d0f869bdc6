"""The known models, and the options of each API."""

import re

import pytest
from google.genai import types

from beam_jobs.catalog import (
    CAPABILITIES,
    DEFAULT_MODEL,
    KNOWN_MODELS,
    USD_PER_IMAGE_AT_1K,
    Family,
    family_of,
)
from localcloud.vertex.app import MODELS


def test_every_known_model_is_alive_and_has_a_price():
    assert DEFAULT_MODEL in KNOWN_MODELS
    assert set(KNOWN_MODELS) == MODELS
    assert all(0 < USD_PER_IMAGE_AT_1K[model] < 1 for model in KNOWN_MODELS)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        *((model, Family.GEMINI) for model in KNOWN_MODELS),
        ("imagen-4.0-generate-001", Family.PREDICT),
        ("flux-1", Family.PREDICT),
        ("my-gemini-copy", Family.PREDICT),
    ],
)
def test_a_models_name_tells_its_api(model, family):
    assert family_of(model) is family


def test_every_api_lists_its_options():
    assert set(CAPABILITIES) == set(Family)
    for offers in CAPABILITIES.values():
        assert "1:1" in offers.aspect_ratios
        assert "1K" in offers.image_sizes


def test_google_genai_lists_each_value_that_is_offered_for_gemini():
    fields = types.ImageConfig.model_fields
    offers = CAPABILITIES[Family.GEMINI]
    ratios = str(fields["aspect_ratio"].description)
    sizes = str(fields["image_size"].description)
    listed = set(re.findall(r'"(\d+:\d+)"', ratios))
    # Its list is older than the newest models, which also accept these two.
    assert offers.aspect_ratios - listed <= {"2:3", "3:2", "4:5", "5:4"}
    assert listed <= offers.aspect_ratios
    assert not [size for size in offers.image_sizes if size not in sizes]
