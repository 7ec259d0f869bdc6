"""What a person is asked before a run pays, and what an answer allows. Pure.

A plan can be over the budget for a good reason. Then the run asks, and the answer becomes its
budget: in every task, through `imagen_ops.backfill.run.run_from_context`.
"""

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from beam_jobs.shown import shown
from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.plan_text import over_budget, quantity, summary

# What Airflow draws as buttons.
APPROVE, REJECT = "Approve", "Reject"
# What a plan calls a cost is an estimate: the tokens of thinking are an allowance, for instance. A
# budget of exactly that would leave the last prompts without their images.
_ROOM = 1.1
_SHOWN_FILES = 10
_SHOWN_PROBLEMS = 10
_MAX_NAME_CHARS = 200


class ApprovalMode(StrEnum):
    """When a run asks: the values of the form's field `approval`."""

    OVER_BUDGET = "over_budget"
    ALWAYS = "always"
    NEVER = "never"


class Decision(StrEnum):
    """How far the question has got, as records and the page call it."""

    ASKED = "asked"
    APPROVED = "approved"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """What a person has allowed a run to take.

    Attributes:
        prompts: the glob of the prompt files that it is about. `airflow backfill create` can take a
            run over, which then has others.
        max_images: the run's budget of images, with all its tries.
        max_cost_usd: its budget in US dollars; None: it has none.
        planned_images: how many images the plan was to generate that the person has seen.
        planned_usd: what that plan was estimated to cost, in US dollars.
        by: the name of the user who answered; None where Airflow doesn't say.
        at: when, in ISO 8601.
    """

    prompts: str
    max_images: int
    max_cost_usd: float | None
    planned_images: int
    planned_usd: float
    by: str | None
    at: str

    def covers(self, plan: Plan) -> bool:
        """Tell whether a plan is of the same files, and no larger than what was approved.

        A person can approve less than the plan that they see: then the job stops paying at that,
        and a plan as large as that one is still what they have approved.
        """
        within_usd = self.max_cost_usd is None or plan.cost_usd <= max(
            self.max_cost_usd, self.planned_usd
        )
        within_images = plan.images_to_pay <= max(self.max_images, self.planned_images)
        return plan.glob == self.prompts and within_images and within_usd

    def to_json(self) -> dict[str, Any]:
        """Return the fields, for XCom and records."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return what `to_json` turned into `content`.

        Raises:
            ValueError: it is something else. Nothing may be paid for on such an approval.
        """
        try:
            approval = cls(**content)
            _amount("max_images", approval.max_images, whole=True)
            if approval.max_cost_usd is not None:
                _amount("max_cost_usd", approval.max_cost_usd)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected the approval of a backfill: {error}") from None
        return approval


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked.

    Attributes:
        subject: the question in one line.
        body: what they need to decide, in Markdown. It has no prompts: names of files, and numbers.
        proposed: what a bare yes allows.
        key: of what is asked. Another plan is another question.
    """

    subject: str
    body: str
    proposed: "Proposal"
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """What a question proposes.

    Attributes:
        prompts: the glob of the prompt files that it is about.
        max_images: as the run's budget of images.
        max_cost_usd: as its budget in US dollars; None: the form's model has no known price, or the
            run has no such budget.
        planned_images: how many images the plan is to generate.
        planned_usd: what the plan is estimated to cost, in US dollars.
    """

    prompts: str
    max_images: int
    max_cost_usd: float | None
    planned_images: int
    planned_usd: float


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a person has answered.

    Attributes:
        approved: whether they approve.
        max_images: the budget of images that they approve; None: as proposed.
        max_cost_usd: the budget in US dollars that they approve; None: as proposed.
        by: the name of the user; None where Airflow doesn't say.
        at: when, in ISO 8601.
    """

    approved: bool
    max_images: int | None
    max_cost_usd: float | None
    by: str | None
    at: str

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Self:
        """Return the answer in an event of Airflow, whose API takes numbers of any kind.

        Raises:
            ValueError: it is none that can be used; says what was expected.
        """
        chosen, fields = event["chosen_options"], event["params_input"] or {}
        if chosen not in ([APPROVE], [REJECT]):
            raise ValueError(f"expected {APPROVE} or {REJECT}, got {chosen!r:.100}")
        images, usd = fields.get("max_images"), fields.get("max_cost_usd")
        approved = chosen == [APPROVE]
        if approved and images is not None:
            _amount("max_images", images, whole=True)
        if approved and usd is not None:
            _amount("max_cost_usd", usd)
        user = event.get("responded_by_user") or {}
        name = shown(str(user.get("name") or ""), _MAX_NAME_CHARS)
        at: datetime = event["responded_at"]
        return cls(approved, images, usd, name or None, at.isoformat())


def question(
    plan: Plan,
    *,
    of: str,
    max_images: int,
    max_cost_usd: float | None,
    unpriced_model: str | None,
    mode: ApprovalMode,
) -> Question | None:
    """Return what to ask before a plan is paid for; None if there is nothing to ask.

    Args:
        plan: what the run would do and cost.
        of: what the run is about: its day, or its prompt files.
        max_images: the run's budget of images.
        max_cost_usd: its budget in US dollars; None: it has none.
        unpriced_model: the form's model, if it has no known price: then the job keeps no budget of
            money.
        mode: when to ask.
    """
    over = over_budget(plan, max_images, max_cost_usd)
    if not plan.images_to_pay or (mode is not ApprovalMode.ALWAYS and over is None):
        return None
    images = plan.images_to_pay if plan.already_stored.exact else _with_room(plan.images_to_pay)
    images = max(max_images, images)
    usd = None if unpriced_model else max_cost_usd
    if usd is not None and plan.cost_usd > usd:
        usd = max(usd, _with_room(plan.cost_usd * 100) / 100)
    at_least = "at least" if plan.unpriced else "about"
    subject = (
        f"Backfill of {of}: {quantity(plan.images_to_pay, 'image')} for {at_least} "
        f"{plan.cost_usd:,.2f} USD?"
    )
    return Question(
        subject=subject,
        body=_body(plan, over, unpriced_model),
        proposed=Proposal(plan.glob, images, usd, plan.images_to_pay, plan.cost_usd),
        key=f"{plan.fingerprint} {plan.images_to_pay} {plan.cost_usd:.4f} {images} {usd}",
    )


def granted(answer: Answer, proposed: Proposal) -> Approval:
    """Return what an answer allows.

    Args:
        answer: of a person, who approves.
        proposed: by the question.

    Raises:
        ValueError: the answer has a budget that the job cannot keep.
    """
    if answer.max_cost_usd is not None and proposed.max_cost_usd is None:
        raise ValueError(
            "max_cost_usd cannot be checked: the model has no known price. Approve with max_images "
            "alone"
        )
    return Approval(
        prompts=proposed.prompts,
        max_images=answer.max_images or proposed.max_images,
        max_cost_usd=answer.max_cost_usd or proposed.max_cost_usd,
        planned_images=proposed.planned_images,
        planned_usd=proposed.planned_usd,
        by=answer.by,
        at=answer.at,
    )


def _body(plan: Plan, over: str | None, unpriced_model: str | None) -> str:
    """Return the question's text.

    What comes from outside, such as names of files, stands in blocks of code, in which Markdown and
    HTML mean nothing: each line of them begins with words of ours, so that none can end its block.
    """
    few = dataclasses.replace(plan, first_problems=plan.first_problems[:_SHOWN_PROBLEMS])
    files = [
        f"{quantity(file.rows, 'row')} in {file.path}" for file in plan.first_files[:_SHOWN_FILES]
    ]
    if plan.files > len(files):
        files.append(f"and {quantity(plan.files - len(files), 'more file')}")
    reason = (
        "This plan is over the run's budget." if over else "This run asks before it pays anything."
    )
    money = (
        f"No price is known for `{unpriced_model}`, so the job keeps no budget of money: "
        "`max_images` is the only limit."
        if unpriced_model
        else "Lower `max_cost_usd` to approve up to a sum: the job stops paying once the model's "
        "answers add up to it, and the other prompts become dead letters that you can replay."
    )
    return "\n".join(
        [
            reason,
            "",
            *_block([over] if over else []),
            "The plan:",
            "",
            *_block(summary(few).splitlines()),
            "Its files, the first ones:",
            "",
            *_block(files),
            f"**{APPROVE}**: the fields below become the run's budget, with all its tries. {money}",
            "",
            f"**{REJECT}**: the run ends here, and nothing is paid.",
        ]
    )


def _block(lines: list[str]) -> list[str]:
    return ["~~~text", *(f"{line}" for line in lines), "~~~", ""] if lines else []


def _with_room(number: float) -> int:
    # Without the dust of floating point, which would add another cent.
    return math.ceil(round(number * _ROOM, 6))


def _amount(name: str, value: Any, *, whole: bool = False) -> None:
    kinds = int if whole else int | float
    valid = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < math.inf
    if not valid:
        expected = "a whole number above 0" if whole else "a number above 0"
        raise ValueError(f"{name}: expected {expected}, got {value!r:.50}")
