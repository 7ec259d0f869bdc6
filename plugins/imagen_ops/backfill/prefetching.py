"""Writing what a run orders from batch inference, from its plan's files."""

from typing import TYPE_CHECKING

from imagen_ops.backfill.budget import defaults_of
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.launch_request import plan_path, prediction_source, prefetch_folder
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from beam_jobs.prefetch.parts import Prepared
    from imagen_ops.google.clients import Clients


def prepare_run(run: BackfillRun, settings: Settings, clients: "Clients") -> "Prepared":
    """Write the requests of what batch inference can make of a run, and return what they are.

    They are of the files that were planned, in their planned generations, and never more than the
    run's budget allows. Another try returns what the first one has written.

    Args:
        run: names the files and has the budget.
        settings: of the deployment.
        clients: to reach Cloud Storage.

    Raises:
        ApiError: Cloud Storage refuses, or does not answer.
        ValueError: the plan, or what an earlier try has written, cannot be understood.
    """
    from beam_jobs.prefetch.prepare import Order, prepare
    from beam_jobs.prompts.limits import FileLimits
    from imagen_ops.google.rest import explained

    max_usd = None if run.unpriced_model else run.max_cost_usd
    order = Order(
        plan=plan_path(settings, run.label),
        prompts=run.prompts,
        defaults=defaults_of(run, settings, source=prediction_source(run.run_id)),
        limits=FileLimits(settings.backfill_max_rows, settings.backfill_max_unpacked_bytes),
        images_location=settings.images_location,
        model_location=run.form.model_location,
        max_images=run.max_images,
        max_micro_usd=None if max_usd is None else int(max_usd * 1e6),
    )
    with explained(f"writing the requests of {run.prompts} for batch inference"):
        return prepare(clients.storage.client(), prefetch_folder(settings, run.label), order)
