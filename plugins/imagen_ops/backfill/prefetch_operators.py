"""Preparing a run's prefetch: what is ordered from batch inference, and what is not."""

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from typing_extensions import override

from imagen_ops.dag.lineage import Dataset, Lineage
from imagen_ops.dag.tasks import ImagenOperator

if TYPE_CHECKING:
    from beam_jobs.prefetch.parts import Prepared
    from imagen_ops.prefetch.state import Prefetch


class PreparePrefetch(ImagenOperator):
    """Write the requests of what batch inference can make, if the run's form asks for it.

    Skips the tasks of the prefetch if it doesn't, if nothing can be ordered, if another run is at
    work on the same files, and in a dry run. A run orders once: if it has asked for a batch job
    before, as when it is cleared, it goes on with that. Returns what is ordered, in words (XCom).

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    @override
    def act(self, context: Any) -> str:
        from imagen_ops.backfill.plan import Plan
        from imagen_ops.backfill.prefetching import prepare_run
        from imagen_ops.backfill.run import AUTO_PREFETCH, NO_PREFETCH, run_from_context
        from imagen_ops.backfill.taking_turns import run_at_work
        from imagen_ops.backfill.worth_prefetching import should_prefetch
        from imagen_ops.dag.limits import refuse_not_allowed
        from imagen_ops.prefetch.run_prefetch import RunPrefetch
        from imagen_ops.prefetch.state import Prefetch

        run = run_from_context(context, self.settings)
        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run orders nothing")
        if run.prefetch == NO_PREFETCH:
            raise AirflowSkipException("the form asks for no prefetch")
        refuse_not_allowed(self.settings, run.form, "prefetch_template")
        prefetch = RunPrefetch(self.settings, self.clients, run_id=run.run_id, run_label=run.label)
        state = prefetch.read()
        if state and state.submitted:
            self.log.warning("the run has ordered before, and goes on with that")
            return _summary(state)
        wanted, why = True, "prefetch: the form asks for it"
        if self.settings.preprocess or self.settings.postprocess:
            # They run in the job alone: it would look for other images than were paid for.
            wanted, why = False, "no prefetch: custom functions change prompts or images"
        elif run.prefetch == AUTO_PREFETCH:
            wanted, why = should_prefetch(
                Plan.from_json(self.plan),
                deadline_hours=run.prefetch_deadline.total_seconds() / 3600,
                min_saving_usd=self.settings.prefetch_min_saving_usd,
            )
        if wanted and (
            other := run_at_work(context, run, self.settings, self.clients, orders=True)
        ):
            wanted, why = False, f"no prefetch: run {other} is at work on the same files"
        new = Prefetch(run_id=run.run_id, decision=why)
        if wanted:
            prepared = prepare_run(run, self.settings, self.clients)
            self.lineage = Lineage(
                (Dataset.files(run.prompts),), (Dataset.folder(prefetch.folder.url),)
            )
            left_out = {name: count for name, count in prepared.left_out.items() if count}
            new = new.changed(parts=_parts(prepared), left_out=left_out)
        state = prefetch.start(new)
        self.log.info("%s", _summary(state))
        if not state.parts:
            raise AirflowSkipException(_summary(state))
        return _summary(state)


def _parts(prepared: "Prepared") -> tuple[Any, ...]:
    from imagen_ops.prefetch.state import Part

    return tuple(
        Part(
            number=number,
            folder=part.folder.url,
            model=part.model,
            location=part.location,
            rows=part.rows,
            likely_micro_usd=part.likely_micro_usd,
        )
        for number, part in enumerate(prepared.parts)
    )


def _summary(state: "Prefetch") -> str:
    images = sum(part.rows for part in state.parts)
    usd = sum(part.likely_micro_usd for part in state.parts) / 1e6
    left = ", ".join(f"{count:,} {reason}" for reason, count in state.left_out.items())
    ordered = (
        f"{images:,} images for about {usd:,.2f} USD, in {len(state.parts)} batch jobs"
        if state.parts
        else "nothing is ordered from batch inference"
    )
    return f"{state.decision}; {ordered}" + (
        f"; rows left to the run's own job: {left}" if left else ""
    )
