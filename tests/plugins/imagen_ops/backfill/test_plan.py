import json

import pytest

from imagen_ops.backfill.plan import AlreadyStored, ModelCost, Plan

PLAN = Plan(
    glob="gs://b/prompts/*",
    request_tier="standard",
    files=3,
    bytes=12_345,
    first_files=(),
    prompts=1200,
    distinct=1100,
    invalid=2,
    first_invalid=("gs://b/prompts/a.txt:1: no",),
    problems=1,
    first_problems=("gs://b/prompts/b.txt: is empty",),
    already_stored=AlreadyStored(distinct=100, images=100, looked_up=1100, exact=True),
    models=(ModelCost("gemini-3-pro-image", images=1100, to_pay=1000, usd=134.0),),
    prices_as_of="2026-11",
)


def test_a_plan_survives_json() -> None:
    sent = PLAN.to_json()
    assert json.loads(json.dumps(sent)) == sent
    assert Plan.from_json(sent) == PLAN
    assert (sent["images_to_pay"], sent["cost_usd"]) == (1000, 134.0)


def test_json_that_is_not_a_plan_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected a backfill's plan, got the fields \['glob'\]: .*'request_"
    ):
        Plan.from_json({"glob": "gs://b/*"})
