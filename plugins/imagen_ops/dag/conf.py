"""Refuses a run whose conf has fields that its DAG doesn't have.

Airflow accepts them: it only adds them to the params (`SerializedParamsDict.deep_merge`). A
misspelt `dry_run` would launch and pay.
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

# Airflow's own, such as `airflow/task_span_detail_level`.
_AIRFLOW = "airflow/"
_MAX_CHARS = 50


def unknown_fields(conf: Mapping[str, Any] | None, known: Collection[str]) -> list[str]:
    """Return what is wrong with the names in a conf, one line each. Values are left out.

    Args:
        conf: what the run was triggered with.
        known: the fields of the DAG's form.
    """
    lines = []
    for name in conf or {}:
        if name in known or name.startswith(_AIRFLOW):
            continue
        line = f"{name[:_MAX_CHARS]!r}: no such field"
        # A name in other letters, such as dryRun, is near as well.
        folded = {each.replace("_", "").lower(): each for each in known}
        wanted = name.replace("_", "").replace("-", "").lower()
        if nearest := difflib.get_close_matches(wanted, folded, n=1, cutoff=0.5):
            line += f" (did you mean {folded[nearest[0]]}?)"
        lines.append(line)
    return lines


def refuse_unknown_fields(dag_run: Any, task: Any) -> None:
    """Make sure that a run's conf has only fields that its DAG's form has.

    Args:
        dag_run: the run of the task.
        task: an operator. Without a DAG, it has no form.

    Raises:
        AirflowFailException: it has others; the message lists them, and what there is.
    """
    if not task.has_dag():
        return
    known = sorted(task.dag.params)
    if problems := unknown_fields(dag_run.conf, known):
        raise AirflowFailException(
            f"the run's conf has unknown fields, so nothing was done: {'; '.join(problems)}. "
            f"{task.dag.dag_id} has {', '.join(known) or 'no fields'}. Trigger it again without "
            "the unknown ones"
        )
