"""What an answer states of its cost."""

import pytest

from beam_jobs.models.bill import UNKNOWN, bill_of, is_version_of, row_of

FLASH, NEW = "gemini-3.1-flash-image", "gemini-nano-banana-2.1"


def answer(model=NEW, **usage):
    image = {"modality": "IMAGE", "tokenCount": 1120}
    return {
        "modelVersion": model,
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 1130,
            "candidatesTokensDetails": [image],
            "thoughtsTokenCount": 300,
            "trafficType": "ON_DEMAND",
            **usage,
        },
    }


def test_tokens_times_prices_is_what_a_call_costs():
    bill = bill_of(answer(), NEW)
    # 10 words beside the image, and 300 tokens of thought, are text.
    assert (bill.input_tokens, bill.text_tokens, bill.image_tokens) == (10, 310, 1120)
    assert bill.usd == pytest.approx((10 * 1.5 + 310 * 7.5 + 1120 * 30) / 1e6)
    assert bill.model_version == NEW


def test_the_tier_that_answered_counts_not_the_one_that_was_asked_for():
    standard, flex = bill_of(answer(), NEW), bill_of(answer(trafficType="ON_DEMAND_FLEX"), NEW)
    assert flex.usd == pytest.approx((standard.usd or 0) / 2)


@pytest.mark.parametrize("traffic", ["ON_DEMAND", "ON_DEMAND_FLEX", "SOMETHING_NEW", None])
def test_batch_inference_has_one_price_whatever_traffic_it_counts_as(traffic):
    standard = bill_of(answer(), NEW)
    batch = bill_of(answer(trafficType=traffic), NEW, batch=True)
    assert batch.usd == pytest.approx((standard.usd or 0) / 2)
    assert (standard.tier, batch.tier) == ("standard", "batch")
    assert bill_of(answer("gemini-4-image"), NEW, batch=True).usd is None


def test_the_model_that_answered_counts_not_the_one_that_was_asked():
    image_alone = {"promptTokenCount": 0, "candidatesTokenCount": 1120, "thoughtsTokenCount": 0}
    assert bill_of(answer(FLASH, **image_alone), NEW).usd == pytest.approx(0.0672)
    unnamed = answer(**image_alone)
    del unnamed["modelVersion"]
    assert bill_of(unnamed, NEW).usd == pytest.approx(0.0336)


def test_a_refusal_costs_what_its_words_cost():
    usage = {"candidatesTokenCount": 0, "candidatesTokensDetails": None, "thoughtsTokenCount": None}
    assert bill_of(answer(**usage), NEW).usd == pytest.approx(10 * 1.5 / 1e6)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"usageMetadata": None},
        {"usageMetadata": []},
        {"usageMetadata": {"promptTokenCount": "many"}},
        {"usageMetadata": {"candidatesTokensDetails": [{}]}},
    ],
)
def test_an_answer_that_states_no_tokens_has_an_unknown_cost(content):
    assert bill_of(content, NEW) == UNKNOWN


@pytest.mark.parametrize(
    "usage",
    [
        {"trafficType": "PROVISIONED_THROUGHPUT"},
        {"trafficType": "ON_DEMAND_PRIORITY"},  # no source states its price
        {"trafficType": "SOMETHING_NEW"},
        {"candidatesTokensDetails": []},  # which of the tokens are pictures?
    ],
)
def test_what_cannot_be_priced_is_unknown_and_keeps_its_tokens(usage):
    bill = bill_of(answer(**usage), NEW)
    assert bill.usd is None
    assert bill.input_tokens == 10


def test_a_model_without_a_row_has_an_unknown_cost():
    assert bill_of(answer("gemini-4-image"), "gemini-4-image").usd is None


@pytest.mark.parametrize(
    ("version", "model", "is_version"),
    [
        (NEW, NEW, True),
        (f"{NEW}-001", NEW, True),
        (f"{NEW}@default", NEW, True),
        (f"{NEW}-001@default", NEW, True),
        (f"{NEW}@002", NEW, True),
        (f"{NEW}-preview", NEW, False),
        ("gemini-3.1-flash-lite-image", FLASH, False),
        (FLASH, NEW, False),
        ("", NEW, False),
    ],
)
def test_a_version_of_a_model_is_told_from_another_model(version, model, is_version):
    assert is_version_of(version, model) is is_version
    assert (row_of(version) is not None) is (is_version or version in (FLASH,) or "lite" in version)
