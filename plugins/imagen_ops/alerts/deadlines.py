"""Alerts about runs that are late, by Airflow's deadline alerts.

A deadline belongs to a run: Airflow notes it when it creates the run, and the scheduler looks at it
while the run goes on. How Airflow 3.3.1 does that decides how they are used here:

* A `SyncCallback` runs in an executor, so on a worker, which sees the plugins. An `AsyncCallback`
  would run in the triggerer, which doesn't on Composer, and which this deployment hasn't.
* It counts from the logical date. Counted from when a run was queued, a run could not be cleared
  while its deadline is ahead (`findings/airflow_deadline_clear.sh`).
* A run that fails keeps its deadline, and so does one that was made for a past day. So the callback
  looks what kind of run it is, and in what state it was.
* Without a run there is no deadline: a DAG that is paused, or a scheduler that is down, is not
  noticed.
"""

import logging
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

# Airflow's stub of its SDK leaves them out.
from airflow.sdk import (  # type: ignore[attr-defined]
    DeadlineAlert,
    DeadlineReference,
    SyncCallback,
)

from imagen_ops.alerts.alert import alert
from imagen_ops.settings import PREFIX, value_of

_UNFINISHED = ("queued", "running")
_SCHEDULED = "scheduled"
# timedelta's own limit is far higher; Airflow adds it to a date.
_LONGEST = timedelta(days=3650)

_log = logging.getLogger(__name__)


def due(
    setting: str, default: float, unit: timedelta, *, after: timedelta = timedelta()
) -> DeadlineAlert:
    """Return the deadline of a DAG's scheduled runs.

    It is read when the DAG file is parsed, which needs no valid settings: what is no number above 0
    counts as not set, and the tasks of the run say what is wrong with it.

    Args:
        setting: the name of the setting that says how long a run may take, such as
            `health_due_minutes`.
        default: its default, in units.
        unit: what the setting is counted in.
        after: when a run begins, after its logical date.
    """
    try:
        value = float(value_of(f"{PREFIX}{setting.upper()}") or default)
    except ValueError:
        value = default
    if not (math.isfinite(value) and 0 < value * unit.total_seconds() < _LONGEST.total_seconds()):
        value = default
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=after + value * unit,
        callback=SyncCallback(run_is_late),
        name=setting,
    )


def run_is_late(context: Mapping[str, Any]) -> None:
    """Send the alert `run_late` about a scheduled run that has not ended by its deadline.

    Args:
        context: what Airflow gives a deadline's callback: `dag_run`, as its REST API has it, at the
            moment at which the deadline was missed, and `deadline`.
    """
    run, due_at = context["dag_run"], context["deadline"]["deadline_time"]
    dag_id, run_id, state = run["dag_id"], run["dag_run_id"], run["state"]
    if run["run_type"] != _SCHEDULED or state not in _UNFINISHED:
        _log.info("%s: run %s is %s, %s: no alert", dag_id, run_id, run["run_type"], state)
        return
    alert(
        "run_late",
        f"{dag_id}: run {run_id} should have ended by {due_at}, and is {state}. See which of its "
        "tasks waits, and for what",
        context=context,
        dag_id=dag_id,
        run_id=run_id,
        due=str(due_at),
        state=state,
    )
