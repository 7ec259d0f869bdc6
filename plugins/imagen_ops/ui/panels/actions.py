"""The DAGs an operator may want to trigger. The page links to them and triggers nothing itself.

Airflow 3.3.1 has no address that opens a trigger form, filled in or not: its router
(`airflow/ui/dist`) has no path for it, and the form's state is the button's own, on the DAG's page.
So the page offers a form as JSON, to paste into *Advanced Options* there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Action:
    """A DAG as the page offers it: its id, the button's label, and what a run does."""

    dag_id: str
    label: str
    description: str


ACTIONS = (
    Action(
        dag_id="imagen_stream_health",
        label="Check now",
        description="Runs a health check of the stream: sends a canary, and restarts a stream that "
        "died. Has no form.",
    ),
    Action(
        dag_id="imagen_stream_start",
        label="Start or change the stream",
        description="Launches the streaming job, or updates or replaces the one that is running.",
    ),
    Action(
        dag_id="imagen_stream_drain",
        label="Drain the stream",
        description="Takes no new prompts and finishes those in progress. New prompts wait until "
        "the next start.",
    ),
    Action(
        dag_id="imagen_backfill",
        label="Run a backfill",
        description="Generates the images for a day's prompt files, or for any other files, within "
        "a budget.",
    ),
    Action(
        dag_id="imagen_dead_letters_replay",
        label="Replay dead letters",
        description="Sends retryable dead letters back as prompts, and archives those that can't "
        "be replayed.",
    ),
)


def actions(may_trigger: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return every action, with its address relative to Airflow's root.

    Args:
        may_trigger: tells whether the user may trigger a DAG, given its id.
    """
    return [
        {
            **dataclasses.asdict(action),
            "url": f"dags/{action.dag_id}",
            "allowed": may_trigger(action.dag_id),
        }
        for action in ACTIONS
    ]
