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

from imagen_ops.records.launches import Drain

VARIABLE = "imagen_stream"
_DESCRIPTION = "Whether the stream should run, and with which form. Set by the stream's DAGs."


@dataclasses.dataclass(frozen=True)
class WantedState:
    """The last request to start or drain the stream.

    Attributes:
        wanted: whether the stream should run.
        by: the DAG run that requested it, and the user who triggered that run, if known.
        at: when it was requested, in UTC, with a zone; of a start, when its DAG run began.
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

    def drain_since(self, began: datetime, noted: Drain | None) -> Drain | None:
        """Return the request to drain that came after `began`, if there is one.

        A start reads the Variable, launches, and writes it. A drain that comes in between is
        overwritten there, and is still noted with the launches.

        Args:
            began: when the run began that starts the stream, or when a start was requested.
            noted: the last drain that `imagen_ops.records.launches` has.
        """
        drains = [noted] if noted else []
        if not self.wanted:
            drains.append(Drain(self.at, self.by))
        return max(
            (drain for drain in drains if drain.at > began),
            key=lambda drain: drain.at,
            default=None,
        )

    def save(self) -> None:
        """Write the Variable."""
        content = {**dataclasses.asdict(self), "at": self.at.isoformat()}
        Variable.set(VARIABLE, json.dumps(content), description=_DESCRIPTION)


def requester_of(dag_run: Any) -> str:
    """Return the DAG and run ids of `dag_run`, and the user who triggered it, if known."""
    user = getattr(dag_run, "triggering_user_name", None)
    return f"{dag_run.dag_id} {dag_run.run_id}" + (f" ({user})" if user else "")


def refuse_if_drained(drain: Drain | None) -> None:
    """Make sure that a drain overrides a start that began before it.

    Args:
        drain: what `WantedState.drain_since` returned.

    Raises:
        AirflowFailException: there was one.
    """
    if drain:
        raise AirflowFailException(
            f"the stream was drained at {drain.at:%F %T} UTC by {drain.by}, after this start "
            "began. If the stream should run, trigger imagen_stream_start again"
        )
