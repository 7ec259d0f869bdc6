"""A backfill of a few rows, and one whose images batch inference makes. Both begin first."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from beam_jobs.catalog import CATALOG
from verification.access import TIMEOUT_S, NotAskedError
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.outcomes import Outcomes
from verification.visit import Visit

_DAG = "imagen_backfill"
# Of the 30 minutes that all of it may take. Then the job makes what is missing.
_PREFETCH_HOURS = 0.2


@dataclasses.dataclass(frozen=True)
class Order:
    """A backfill to run.

    Args:
        name: of its check and its folder.
        rows: prompts that get an image each.
        invalid: rows that are no prompts.
        form: besides the files and the budget.
    """

    name: str
    rows: int
    invalid: int
    form: dict[str, Any]


_PLAIN = Order("backfill", rows=3, invalid=1, form={"prefetch": "none"})
_PREFETCH = Order(
    "prefetch",
    rows=5,
    invalid=0,
    form={"prefetch": "batch", "prefetch_deadline_hours": _PREFETCH_HOURS},
)


def _beginning(order: Order) -> Callable[[Visit], None]:
    def begin(visit: Visit) -> None:
        if order is _PREFETCH and not visit.access.on_stand_ins:
            variables = visit.composer["config"]["softwareConfig"].get("envVariables", {})
            if not variables.get("IMAGEN_PREFETCH_TEMPLATE"):
                raise NotAskedError("the variable batch_inference is false")
        mark = f"{visit.mark}-backfill-{order.name}"
        lines = [json.dumps({"prompt": f"A harbour ({mark} {n})"}) for n in range(order.rows)]
        lines += [json.dumps({"prompt": mark, "imagse": n}) for n in range(order.invalid)]
        folder = f"prompts/{visit.mark}/{order.name}"
        blob = visit.access.storage().bucket(visit.deployment.bucket).blob(f"{folder}/rows.jsonl")
        blob.upload_from_string("\n".join(lines), timeout=TIMEOUT_S)
        visit.at_the_end(f"delete {blob.name}", lambda: blob.delete(timeout=TIMEOUT_S))
        # Before its outcomes.
        Outcomes.of(visit)
        form = {
            "prompts": f"gs://{visit.deployment.bucket}/{folder}/*",
            "max_images": order.rows,
            "approval": "never",
            **order.form,
        }
        visit.known[order.name] = visit.airflow.trigger(_DAG, form)

    return begin


def _asking(order: Order) -> Callable[[Visit], Seen]:
    def ask(visit: Visit) -> Seen:
        run = visit.known[order.name]
        if visit.airflow.wait(_DAG, run, until=visit.until) != "success":
            raise DiffersError(visit.airflow.failed(_DAG, run))
        outcomes, source = Outcomes.of(visit), f"backfill:{run}"
        total = order.rows + order.invalid
        visit.wait_for(lambda: len(outcomes.of_source(source)) >= total)
        came = outcomes.of_source(source)
        usd = sum(each.get("cost_usd") or 0.0 for each in came)
        made = [each for each in came if "reason" not in each]
        if (len(made), len(came)) != (order.rows, total):
            raise DiffersError(
                f"{len(made)} predictions and {len(came) - len(made)} dead letters, expected "
                f"{order.rows} and {order.invalid}",
                usd=usd,
            )
        tiers = sorted({str(each["tier"]) for each in made})
        if order is _PREFETCH and tiers != ["batch"]:
            raise DiffersError(
                f"made in the tiers {', '.join(tiers)}: batch inference took longer than "
                f"{_PREFETCH_HOURS * 60:.0f} minutes, or refused, and the job made the rest; the "
                f"run's record says which",
                usd=usd,
            )
        return Seen(
            f"{len(made)} predictions ({', '.join(tiers)}), {len(came) - len(made)} dead letters",
            usd,
        )

    return ask


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield them."""
    row = CATALOG.get(deployment.model)
    usd = 1.2 * ((row.usd_per_image(None) if row else None) or 0.25)
    yield Check(
        name=_PLAIN.name,
        believed="A backfill plans, launches, and adds up; its template takes a glob.",
        where="dags/imagen_backfill.py",
        expected="a prediction for each row, and a dead letter for the invalid one",
        begin=_beginning(_PLAIN),
        ask=_asking(_PLAIN),
        usd=_PLAIN.rows * usd,
        limit_s=10 * 60.0,
    )
    yield Check(
        name=_PREFETCH.name,
        believed="Batch inference makes images within minutes to hours, and an import stores them.",
        where="plugins/imagen_ops/prefetch/submission.py",
        expected="each row's image from batch inference",
        begin=_beginning(_PREFETCH),
        ask=_asking(_PREFETCH),
        usd=_PREFETCH.rows * usd,
        limit_s=15 * 60.0,
    )
