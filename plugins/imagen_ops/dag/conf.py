"""Refuses a run whose conf has fields that its DAG doesn't have, or values that are no one line.

Airflow accepts them: it only adds the fields to the params (`SerializedParamsDict.deep_merge`). A
misspelt `dry_run` would launch and pay. A value with a line end could forge lines of a log.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from beam_jobs.shown import is_safe, shown

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
        line = f"'{shown(name[:_MAX_CHARS])}': no such field"
        # A name in other letters, such as dryRun, is near as well.
        folded = {each.replace("_", "").lower(): each for each in known}
        wanted = name.replace("_", "").replace("-", "").lower()
        if nearest := difflib.get_close_matches(wanted, folded, n=1, cutoff=0.5):
            line += f" (did you mean {folded[nearest[0]]}?)"
        lines.append(line)
    return lines


def unsafe_values(conf: Any) -> list[str]:
    """Return which values in a conf have characters that no value needs, one line each.

    Args:
        conf: what the run was triggered with.
    """
    return [
        f"{shown(name, _MAX_CHARS)}: expected text on one line, without control characters and "
        f"characters that cannot be seen, got '{shown(text, _MAX_CHARS)}'; trigger it again "
        "without them"
        for name, value in (conf or {}).items()
        if not str(name).startswith(_AIRFLOW)
        for text in _texts(value)
        if not is_safe(text)
    ]


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def refuse_unknown_fields(dag_run: Any, task: Any) -> None:
    """Make sure that a run's conf has only fields that its DAG's form has, and values of one line.

    Args:
        dag_run: the run of the task.
        task: an operator. Without a DAG, it has no form.

    Raises:
        AirflowFailException: it has others; the message lists them, and what there is. Airflow
            doesn't retry the task.
    """
    if not task.has_dag():
        return
    if unsafe := unsafe_values(dag_run.conf):
        raise AirflowFailException(f"nothing was done: {'; '.join(unsafe)}")
    known = sorted(task.dag.params)
    if problems := unknown_fields(dag_run.conf, known):
        raise AirflowFailException(
            f"the run's conf has unknown fields, so nothing was done: {'; '.join(problems)}. "
            f"{task.dag.dag_id} has {', '.join(known) or 'no fields'}. Trigger it again without "
            "the unknown ones"
        )
