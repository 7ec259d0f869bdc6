"""Whether the stream *should* run: an Airflow Variable, set by start and drain, read by health.

Without it, the health check could not tell a stream that was drained on purpose from one that died.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

VARIABLE = "imagen_stream"
_DESCRIPTION = "Whether the stream should run, and with which form. Set by the stream's DAGs."


@dataclasses.dataclass(frozen=True)
class WantedState:
    """The last request to start or drain the stream.

    Attributes:
        wanted: whether the stream should run.
        by: the DAG run that requested it, and the user who triggered that run, if known.
        at: when it was requested, in UTC, with a zone.
        form: the form the stream was last started with; None if it was never started.
    """

    wanted: bool
    by: str
    at: datetime
    form: Mapping[str, Any] | None = None

    @classmethod
    def load(cls) -> "WantedState":
        """Read the Variable. If it does not exist, the stream was never started: not wanted.

        Raises:
            ValueError: the Variable holds something that the stream's DAGs did not write.
        """
        text = Variable.get(VARIABLE, default=None)
        if not text:
            return cls(
                wanted=False,
                by="nobody has started it yet",
                at=datetime.fromtimestamp(0, UTC),
            )
        try:
            content = json.loads(text)
            return cls(
                wanted=content["wanted"],
                by=content["by"],
                at=datetime.fromisoformat(content["at"]),
                form=content["form"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"the Airflow Variable {VARIABLE} holds {text!r}, which the stream's DAGs did not "
                "write. Delete it, then run imagen_stream_start or imagen_stream_drain"
            ) from error

    def drained_since(self, dag_run: Any) -> bool:
        """Return whether somebody has drained the stream since `dag_run` began."""
        return not self.wanted and self.at > dag_run.start_date

    def save(self) -> None:
        """Write the Variable."""
        content = {**dataclasses.asdict(self), "at": self.at.isoformat()}
        Variable.set(VARIABLE, json.dumps(content), description=_DESCRIPTION)


def requester_of(dag_run: Any) -> str:
    """Return the DAG and run ids of `dag_run`, and the user who triggered it, if known."""
    user = getattr(dag_run, "triggering_user_name", None)
    return f"{dag_run.dag_id} {dag_run.run_id}" + (f" ({user})" if user else "")


def refuse_if_drained(wanted_state: WantedState, dag_run: Any) -> None:
    """Make sure that a drain overrides a start that began before it.

    Args:
        wanted_state: the last request to start or drain the stream.
        dag_run: the run that starts the stream.

    Raises:
        AirflowFailException: the stream was drained after `dag_run` began.
    """
    if wanted_state.drained_since(dag_run):
        raise AirflowFailException(
            f"the stream was drained at {wanted_state.at:%F %T} UTC by {wanted_state.by}, after "
            "this start began. If the stream should run, trigger imagen_stream_start again"
        )
