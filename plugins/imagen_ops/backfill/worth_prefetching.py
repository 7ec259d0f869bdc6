"""Whether batch inference is worth it for a plan: the decision behind the form's `auto`. Pure."""

from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.plan_text import quantity

# Google states no time but the 72 hours that a job may wait. Assumed: with less than this until the
# deadline, most of it would be cancelled, and have been waited for in vain.
MIN_HOURS = 2.0


def should_prefetch(
    plan: Plan, *, deadline_hours: float, min_saving_usd: float
) -> tuple[bool, str]:
    """Decide whether to order what batch inference can make of a plan.

    Args:
        plan: what the run would do and cost.
        deadline_hours: how long batch jobs would have.
        min_saving_usd: IMAGEN_PREFETCH_MIN_SAVING_USD.

    Returns:
        Whether to, and why, in a sentence.
    """
    if not plan.batch_images:
        return False, "no prefetch: batch inference can make none of the images to generate"
    saving = f"{plan.batch_saves_usd:,.2f} USD with {quantity(plan.batch_images, 'image')}"
    # Rounded, as it is shown: whoever reads 5.00 of 5.00 expects it to be enough.
    if round(plan.batch_saves_usd, 2) < min_saving_usd:
        return False, (
            f"no prefetch: it would save {saving}, and is worth it from {min_saving_usd:,.2f} USD "
            "on (IMAGEN_PREFETCH_MIN_SAVING_USD)"
        )
    if deadline_hours < MIN_HOURS:
        return False, (
            f"no prefetch: its jobs would have {deadline_hours:g} h, and need at least "
            f"{MIN_HOURS:g} h"
        )
    return True, f"prefetch: it saves {saving}"
