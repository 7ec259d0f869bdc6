"""Whether the stream *should* run: an Airflow Variable that start and drain set and health reads.

Without it health could not tell a stream that was drained on purpose from one that died.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

VARIABLE = "imagen_stream"
_DESCRIPTION = "Whether the stream should run, and with what; set by the stream's DAGs"


@dataclasses.dataclass(frozen=True)
class WantedState:
    """What was asked for last.

    Attributes:
        wanted: whether the stream should run.
        by: the DAG run that asked, and the user behind it if there is one.
        at: when; aware, UTC.
        form: what the stream was started with; None if it never was.
    """

    wanted: bool
    by: str
    at: datetime
    form: Mapping[str, Any] | None = None

    @classmethod
    def load(cls) -> "WantedState":
        """Read it; nobody having started anything yet counts as not wanted.

        Raises:
            ValueError: somebody has edited the Variable into something else.
        """
        text = Variable.get(VARIABLE, default=None)
        if not text:
            return cls(False, "nobody has started it yet", datetime.fromtimestamp(0, UTC))
        try:
            given = json.loads(text)
            return cls(
                given["wanted"], given["by"], datetime.fromisoformat(given["at"]), given["form"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"the Variable {VARIABLE} holds {text!r}, which is not what the stream's DAGs "
                "write; delete it and run imagen_stream_start or imagen_stream_drain"
            ) from error

    def drained_since(self, dag_run: Any) -> bool:
        """Return whether somebody has drained the stream since a DAG run began."""
        return not self.wanted and self.at > dag_run.start_date

    def save(self) -> None:
        """Remember it."""
        content = {**dataclasses.asdict(self), "at": self.at.isoformat()}
        Variable.set(VARIABLE, json.dumps(content), description=_DESCRIPTION)


def asked_by(dag_run: Any) -> str:
    """Name the DAG run, and who triggered it."""
    user = getattr(dag_run, "triggering_user_name", None)
    return f"{dag_run.dag_id} {dag_run.run_id}" + (f" ({user})" if user else "")


def refuse_if_drained(wanted: WantedState, dag_run: Any) -> None:
    """Let a drain that came after a start be the last word.

    Raises:
        AirflowFailException: there was one.
    """
    if wanted.drained_since(dag_run):
        raise AirflowFailException(
            f"the stream was drained at {wanted.at:%F %T} UTC by {wanted.by}, after this start "
            "was asked for; if it is to run after all, start it anew"
        )
