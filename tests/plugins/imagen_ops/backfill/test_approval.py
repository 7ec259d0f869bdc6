"""What a person is asked before a run pays, and what an answer allows."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from beam_jobs.shown import shown
from imagen_ops.backfill.approval import (
    Answer,
    Approval,
    ApprovalMode,
    Proposal,
    Question,
    granted,
    question,
)
from imagen_ops.backfill.plan import AlreadyStored, ModelCost, Plan, PlannedFile
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

AT = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)


def asked(plan: Plan = PLAN, **changes: Any) -> Question | None:
    arguments: dict[str, Any] = {
        "of": "2026-11-22",
        "max_images": 10_000,
        "max_cost_usd": 500.0,
        "unpriced_model": None,
        "mode": ApprovalMode.OVER_BUDGET,
        **changes,
    }
    return question(plan, **arguments)


def question_about(plan: Plan = PLAN, **changes: Any) -> Question:
    found = asked(plan, **changes)
    assert found is not None
    return found


def event(*chosen: str, by: Any = "ada", **fields: Any) -> dict[str, Any]:
    """Return what Airflow resumes the task with."""
    return {
        "chosen_options": list(chosen),
        "params_input": fields,
        "responded_at": AT,
        "responded_by_user": by and {"id": "7", "name": by},
        "timedout": False,
    }


APPROVAL = Approval(
    prompts=PLAN.glob,
    max_images=1000,
    max_cost_usd=147.4,
    planned_images=1000,
    planned_usd=134.0,
    by="ada",
    at=AT.isoformat(),
)


def planned(images: int, usd: float | None = 134.0) -> Plan:
    return dataclasses.replace(
        PLAN, models=(ModelCost("gemini-3-pro-image", images=images, to_pay=images, usd=usd),)
    )


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({}, False),
        ({"max_images": 999}, True),
        ({"max_cost_usd": 133.99}, True),
        ({"max_images": 1000, "max_cost_usd": 134.0}, False),
        ({"mode": ApprovalMode.ALWAYS}, True),
        ({"max_images": 999, "mode": ApprovalMode.ALWAYS}, True),
    ],
)
def test_a_plan_over_the_budget_is_asked_about_and_any_plan_if_the_form_says_so(
    changes: dict[str, Any], asks: bool
) -> None:
    assert (asked(**changes) is not None) is asks


def test_nobody_is_asked_about_a_run_that_pays_for_nothing() -> None:
    assert asked(planned(0, 0.0), mode=ApprovalMode.ALWAYS) is None


def test_what_is_proposed_is_enough_for_the_plan_and_never_less_than_the_budget() -> None:
    """A tenth more than an estimate; what a plan has counted needs no room."""
    over_usd = question_about(max_cost_usd=100.0).proposed
    assert (over_usd.max_images, over_usd.max_cost_usd) == (10_000, 147.4)
    over_images = question_about(max_images=10).proposed
    assert (over_images.max_images, over_images.max_cost_usd) == (1000, 500.0)
    sampled = AlreadyStored(distinct=100, images=100, looked_up=1000, exact=False)
    estimated = question_about(dataclasses.replace(PLAN, already_stored=sampled), max_images=10)
    assert estimated.proposed.max_images == 1100
    assert question_about(max_cost_usd=None, max_images=10).proposed.max_cost_usd is None
    always = question_about(mode=ApprovalMode.ALWAYS).proposed
    assert (always.max_images, always.max_cost_usd) == (10_000, 500.0)


def test_without_a_known_price_no_budget_of_money_is_proposed_and_none_can_be_approved() -> None:
    plan = planned(1000, None)
    found = question_about(plan, max_images=10, unpriced_model="my-flux")
    assert found.proposed.max_cost_usd is None
    assert "`max_images` is the only limit" in found.body
    assert found.subject.endswith("at least 0.00 USD?")
    with pytest.raises(ValueError, match="no known price"):
        granted(Answer.of_event(event("Approve", max_cost_usd=5)), found.proposed)


def test_the_question_says_why_it_is_asked_what_is_planned_and_what_an_answer_does() -> None:
    files = tuple(
        PlannedFile(f"gs://b/prompts/{n}.txt", bytes=10, generation=1, updated=None, rows=n)
        for n in range(1, 13)
    )
    plan = dataclasses.replace(PLAN, files=12, first_files=files)
    found = question_about(plan, max_images=10)
    assert found.subject == "Backfill of 2026-11-22: 1,000 images for about 134.00 USD?"
    for part in (
        "over the run's budget",
        "990 more than the maximum of 10",
        "gemini-3-pro-image: 1,000 images, 134.00 USD",
        "invalid row: gs://b/prompts/a.txt:1: no",
        "1 row in gs://b/prompts/1.txt",
        "10 rows in gs://b/prompts/10.txt",
        "and 2 more files",
        "Lower `max_cost_usd`",
        "nothing is paid",
    ):
        assert part in found.body, part
    assert "11.txt" not in found.body
    assert "before it pays anything" in question_about(mode=ApprovalMode.ALWAYS).body


HOSTILE = (
    "~~~\n# A heading",
    "```",
    "<img src=x onerror=alert(1)>",
    "[approve](https://example.com)",
    "~~~\u2028<script>",
    "    indented",
    "",
)


@given(names=st.lists(st.sampled_from(HOSTILE) | st.text(max_size=30), min_size=1, max_size=5))
def test_no_name_of_a_file_is_more_than_text_in_the_question(names: list[str]) -> None:
    """A plan has names as `shown` returns them."""
    safe = [shown(name) for name in names]
    plan = dataclasses.replace(
        PLAN,
        glob=f"gs://b/{safe[0]}",
        files=len(safe),
        first_files=tuple(
            PlannedFile(f"gs://b/{name}", bytes=1, generation=1, updated=None, rows=1)
            for name in safe
        ),
        first_invalid=tuple(f"gs://b/{name}:1: no" for name in safe),
        first_problems=tuple(f"gs://b/{name}: is empty" for name in safe),
    )
    tokens = MarkdownIt().parse(question_about(plan, max_images=10).body)
    blocks = [token.content for token in tokens if token.type == "fence"]
    assert len(blocks) == 3
    assert all(any(f"gs://b/{name}" in block for block in blocks) for name in safe)
    others = {token.type for token in tokens} - {"fence", "inline"}
    assert others == {"paragraph_open", "paragraph_close"}
    inline = [token.content for token in tokens if token.type == "inline"]
    assert not [text for text in inline if "gs://" in text]


def test_a_question_stays_the_same_only_for_the_same_plan_and_budget() -> None:
    first = question_about(max_images=10)
    assert question_about(max_images=10).key == first.key
    others = [
        question_about(planned(1001), max_images=10),
        question_about(planned(1000, 134.5), max_images=10),
        question_about(dataclasses.replace(PLAN, fingerprint="other"), max_images=10),
        question_about(max_images=10, max_cost_usd=20.0),
    ]
    assert first.key not in {other.key for other in others}


def test_an_approval_has_what_was_filled_in_or_else_what_was_proposed() -> None:
    proposed = Proposal(PLAN.glob, 1000, 147.4, planned_images=1000, planned_usd=134.0)
    assert granted(Answer.of_event(event("Approve")), proposed) == APPROVAL
    up_to = Answer.of_event(event("Approve", max_images=500, max_cost_usd=20))
    approval = granted(up_to, proposed)
    assert (approval.max_images, approval.max_cost_usd) == (500, 20)
    assert (approval.planned_images, approval.planned_usd) == (1000, 134.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_images": 0},
        {"max_images": -1},
        {"max_images": 1.5},
        {"max_images": "1000"},
        {"max_images": True},
        {"max_cost_usd": 0},
        {"max_cost_usd": -5},
        {"max_cost_usd": float("nan")},
        {"max_cost_usd": float("inf")},
        {"max_cost_usd": "20"},
        {"max_cost_usd": [20]},
    ],
    ids=str,
)
def test_a_budget_that_is_none_is_refused_in_a_sentence(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name}: expected a .*number above 0, got"):
        Answer.of_event(event("Approve", **fields))
    assert not Answer.of_event(event("Reject", **fields)).approved, "it needs no budget"


@pytest.mark.parametrize("chosen", [(), ("Approve", "Reject"), ("approve",), ("Delete",)])
def test_an_answer_is_one_of_two(chosen: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected Approve or Reject, got"):
        Answer.of_event(event(*chosen))


def test_who_answered_is_known_by_name_alone_and_cannot_forge_a_line() -> None:
    assert Answer.of_event(event("Reject", by="a\nb")).by == r"a\nb"
    assert Answer.of_event(event("Reject", by=None)).by is None


@pytest.mark.parametrize(
    ("plan", "covered"),
    [
        (planned(1000), True),
        (planned(900, 100.0), True),
        (planned(1001), False),
        (planned(1000, 147.5), False),
        (dataclasses.replace(planned(10, 1.0), glob="gs://b/prompts/others/*"), False),
    ],
)
def test_an_approval_covers_plans_that_are_no_larger(plan: Plan, covered: bool) -> None:
    assert APPROVAL.covers(plan) is covered


def test_whoever_approves_less_than_the_plan_has_still_approved_that_plan() -> None:
    up_to = dataclasses.replace(APPROVAL, max_cost_usd=20.0, max_images=10)
    assert up_to.covers(PLAN)
    assert not up_to.covers(planned(1001))
    assert not up_to.covers(planned(1000, 134.5))
    assert dataclasses.replace(APPROVAL, max_cost_usd=None).covers(planned(1000, 1e6))


def test_an_approval_survives_json() -> None:
    assert Approval.from_json(json.loads(json.dumps(APPROVAL.to_json()))) == APPROVAL


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "approved",
        {**APPROVAL.to_json(), "max_images": 0},
        {**APPROVAL.to_json(), "max_cost_usd": "all"},
        {**APPROVAL.to_json(), "other": 1},
    ],
)
def test_json_that_is_no_approval_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="expected the approval of a backfill"):
        Approval.from_json(content)
