"""Takes out of OpenLineage's events what a run was triggered with.

Airflow's provider puts the conf of a run, what people have noted on it, and the questions that it
asks them, into its events, and has no option against that. A transport of the type `transform`,
with the class below as its `transformer_class`, sends the events on without them.
docs/operating.md says how to set it.

Only the setting of the transport names this module: it imports OpenLineage's client, which need not
be installed.
"""

from collections.abc import Iterable
from typing import Any

import attrs
from openlineage.client.transport.transform import EventTransformer

# What people have entered, wherever an event says something of a run. The last is the question of a
# human-in-the-loop task: for us, a plan with the names of files, and the answer.
LEFT_OUT = frozenset({"conf", "note", "hitl_summary"})


class WithoutConf(EventTransformer):
    """Lets through events without the conf of their run."""

    def transform(self, event: Any) -> Any:
        """Return the event, changed. The transport has made a copy of it.

        Args:
            event: of a run, of a job, or of a dataset. Only the first has a run.
        """
        if run := getattr(event, "run", None):
            _leave_out(run.facets)
        return event


def _leave_out(value: Any) -> None:
    """Take the keys and attributes in `LEFT_OUT` out of a value, however deep they are in it."""
    parts: Iterable[Any] = ()
    if isinstance(value, dict):
        for key in LEFT_OUT & value.keys():
            del value[key]
        parts = value.values()
    elif attrs.has(type(value)):
        names = [each.name for each in attrs.fields(type(value))]
        for name in LEFT_OUT.intersection(names):
            setattr(value, name, None)
        parts = [getattr(value, name) for name in names]
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        _leave_out(part)
