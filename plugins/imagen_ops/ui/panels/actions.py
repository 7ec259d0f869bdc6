"""The ways from the page to what changes something: Airflow's own pages, with the forms on them.

Airflow 3.3 has no address that opens a trigger form; its button is on the DAG's page.
"""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Action:
    """A DAG, and what it is for."""

    dag_id: str
    label: str
    description: str


ACTIONS = (
    Action(
        "imagen_stream_start",
        "Start or change the stream",
        "Launches the streaming job; updates or replaces the one that runs.",
    ),
    Action(
        "imagen_stream_drain",
        "Drain the stream",
        "No more prompts; those under way are finished. Prompts wait until the next start.",
    ),
    Action(
        "imagen_stream_health",
        "Look at the stream now",
        "Sends a canary through and decides anew; restarts a stream that died. It has no form.",
    ),
    Action(
        "imagen_backfill",
        "Run a backfill",
        "Makes the images of a day's prompt files, or of any others, within a budget.",
    ),
    Action(
        "imagen_dead_letters_replay",
        "Replay dead letters",
        "Sends those back that are worth another try, and archives the rest.",
    ),
)


def actions(allowed: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return the DAGs with where they are, from Airflow's root, and whether they may be triggered.

    Args:
        allowed: whether who asks may, by the DAG's id.
    """
    return [
        {
            **dataclasses.asdict(action),
            "url": f"dags/{action.dag_id}",
            "allowed": allowed(action.dag_id),
        }
        for action in ACTIONS
    ]
