"""Dead letters, taken up again: replayed, archived, or left, and none of them lost.

A dead letter is acknowledged only when its prompt is published again, or its archive object is
written. Whatever stops the task in between, the dead letter comes back, and a prompt that has been
replayed twice is found among the images and not paid for twice (unless it asks for fresh ones and
has no id of its own).
"""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk.exceptions import AirflowException

from imagen_ops.archive import Archive, by_folder
from imagen_ops.clients import REPLAY_RECORDS
from imagen_ops.errors import ApiError
from imagen_ops.replay import Decision, Fate, ReplayForm, Tally, decide
from imagen_ops.tasks import Task

if TYPE_CHECKING:
    from imagen_ops.hooks.messages import Message, MessagesHook

RECORD_SCHEMA = "imagen.replay/1"

# What is in memory at a time: a dead letter is at most 1.4 MB, and an answer of Pub/Sub's 10 MB.
BATCH = 500
# How long a task that is killed keeps its messages from the next try; a DAG's retry delay has to
# be longer. Renewed after a third of it, so that no step may take longer than the rest.
LEASE_SECONDS = 60
# A pull may come back empty although there are messages: once is no proof.
_EMPTY_PULLS = 2

_log = logging.getLogger(__name__)


class ReplayDeadLetters(Task):
    """Take the dead letters that are there when the run begins, or as many as the form says.

    The result, which is also kept under `records/replays`, is `{"schema", "run_id", "at",
    "dry_run", "finished", "replayed", "archived", "left", "unreadable"}`: counts by reason, those
    of earlier tries of the same run included. What is unreadable is archived too, under a reason
    of its own.
    """

    _killed = False

    def act(self, context: Any) -> dict[str, Any]:
        """See the class."""
        form, run_id = ReplayForm.of(context["params"]), context["run_id"]
        tally = Tally() if form.dry_run else self._of_earlier_tries(run_id)
        try:
            with _Leases(self.clients.messages, self._subscription) as leases:
                _Replay(self, form, context["dag_run"], leases, tally).run()
        except BaseException:
            self._keep(run_id, form, tally, finished=False)
            raise
        return self._keep(run_id, form, tally, finished=True)

    def on_kill(self) -> None:
        """End after what is under way; Airflow kills the process if that takes too long."""
        self._killed = True

    def stop_if_killed(self) -> None:
        """Raise if the task is to end before its time."""
        if self._killed:
            raise AirflowException("killed; what was in hand is given back, nothing is lost")

    @property
    def _subscription(self) -> str:
        return self.settings.subscription(self.settings.dead_letters_subscription)

    def _of_earlier_tries(self, run_id: str) -> Tally:
        from imagen_ops.hooks.rest import explained

        with explained("reading what earlier tries of this run did"):
            lately = self.clients.history(REPLAY_RECORDS).since(
                datetime.now(UTC) - timedelta(days=2)
            )
        of_this_run = [
            record for record in lately if record["run_id"] == run_id and not record["dry_run"]
        ]
        return Tally.of(of_this_run[-1]) if of_this_run else Tally()

    def _keep(
        self, run_id: str, form: ReplayForm, tally: Tally, *, finished: bool
    ) -> dict[str, Any]:
        from imagen_ops.hooks.rest import explained

        self.log.info("%s%s", "would be: " if form.dry_run else "", tally)
        record = {
            "schema": RECORD_SCHEMA,
            "run_id": run_id,
            "at": datetime.now(UTC).isoformat(),
            "dry_run": form.dry_run,
            "finished": finished,
            **tally.to_json(),
        }
        try:
            with explained("keeping a record of this run"):
                self.clients.history(REPLAY_RECORDS).put(record)
        except ApiError as error:
            # To fail for it would have the next try, which finds no dead letters any more, say 0.
            self.log.warning("%s", error)
        return record


class _Replay:
    """One try's work."""

    def __init__(
        self,
        task: ReplayDeadLetters,
        form: ReplayForm,
        dag_run: Any,
        leases: "_Leases",
        tally: Tally,
    ) -> None:
        settings = task.settings
        self._task = task
        self._form = form
        self._leases = leases
        self._tally = tally
        self._messages = task.clients.messages
        # A prompt that fails again at once would otherwise use up all its replays in one run.
        self._began = dag_run.start_date
        self._topic = settings.topic(settings.prompts_topic)
        self._archive = Archive(task.clients.objects.client(), settings.bucket, dag_run.run_id)
        self._seen: set[str] = set()
        self._done: set[str] = set()

    def run(self) -> None:
        """Take batches until pulls bring none that is ours to handle, or there were enough."""
        nothing_ours = 0
        while nothing_ours < _EMPTY_PULLS and len(self._seen) < self._form.most:
            self._task.stop_if_killed()
            taken = self._leases.take(min(BATCH, self._form.most - len(self._seen)))
            # Pub/Sub may deliver again even what has been acknowledged.
            self._leases.acknowledge(
                {one.id: one for one in taken if one.id in self._done}.values()
            )
            fresh = {
                one.id: one
                for one in taken
                if one.id not in self._seen and one.published_at < self._began
            }
            self._seen |= fresh.keys()
            nothing_ours = 0 if fresh else nothing_ours + 1
            self._handle([(one, decide(one.data, self._form)) for one in fresh.values()])

    def _handle(self, batch: list[tuple["Message", Decision]]) -> None:
        if self._form.dry_run:
            self._count(decision for _, decision in batch)
            return
        self._count(decision for _, decision in batch if decision.fate is Fate.LEAVE)
        replays = [each for each in batch if each[1].fate is Fate.REPLAY]
        if replays:
            again = [decision.letter.again() for _, decision in replays if decision.letter]
            self._messages.publish_all(self._topic, again)
            self._finish(replays)
        archived = [each for each in batch if each[1].fate is Fate.ARCHIVE]
        for folder, group in by_folder(archived).items():
            self._leases.renew()
            path = self._archive.put(folder, group)
            self._task.log.info("%d into %s", len(group), path)
            self._finish(group)

    def _finish(self, group: list[tuple["Message", Decision]]) -> None:
        self._leases.acknowledge(message for message, _ in group)
        self._done.update(message.id for message, _ in group)
        self._count(decision for _, decision in group)

    def _count(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self._tally.add(decision)


class _Leases:
    """The messages in hand: kept while it takes, given back at the end, however that comes."""

    def __init__(self, messages: "MessagesHook", subscription: str) -> None:
        self._messages = messages
        self._subscription = subscription
        self._ack_ids: dict[str, str] = {}
        self._renewed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._lease(self._ack_ids.values(), 0)
        except ApiError as error:
            _log.warning("%s; they come back within %d s", error, LEASE_SECONDS)

    def take(self, most: int) -> list["Message"]:
        """Pull up to `most`; whatever the subscription's deadline is, they are ours for longer."""
        self.renew()
        taken = self._messages.take(self._subscription, most)
        ack_ids = {one.id: one.ack_id for one in taken}
        self._ack_ids |= ack_ids
        self._lease(ack_ids.values(), LEASE_SECONDS)
        return taken

    def renew(self) -> None:
        """Keep all for longer, if it is time."""
        now = time.monotonic()
        if now - self._renewed_at > LEASE_SECONDS / 3:
            self._lease(self._ack_ids.values(), LEASE_SECONDS)
            self._renewed_at = now

    def acknowledge(self, messages: Iterable["Message"]) -> None:
        """Be done with some."""
        ids = [one.id for one in messages]
        self._messages.acknowledge_all(self._subscription, [self._ack_ids[one] for one in ids])
        for one in ids:
            del self._ack_ids[one]

    def _lease(self, ack_ids: Iterable[str], seconds: int) -> None:
        self._messages.lease(self._subscription, [*ack_ids], seconds)
