"""Dead letters, taken up again: replayed, archived, or left, and none of them lost.

A dead letter is acknowledged only when its prompt is published again, or its archive object is
written. Whatever stops the task in between, the dead letter comes back, and a prompt that has been
replayed twice is found among the images and not paid for twice (unless it asks for fresh ones and
has no id of its own).
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.dead_letters.archive import Archive, by_folder
from imagen_ops.dead_letters.decision import Decision, Disposition, ReplayCounts, ReplayForm, decide
from imagen_ops.dead_letters.leases import Leases
from imagen_ops.errors import ApiError
from imagen_ops.records.folders import REPLAY_RECORDS

if TYPE_CHECKING:
    from imagen_ops.google.pubsub import Message

RECORD_SCHEMA = "imagen.replay/1"

# What is in memory at a time: a dead letter is at most 1.4 MB, and an answer of Pub/Sub's 10 MB.
BATCH = 500
# A pull may come back empty although there are messages: once is no proof.
_EMPTY_PULLS = 2


class ReplayDeadLetters(ImagenOperator):
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
        tally = ReplayCounts() if form.dry_run else self._of_earlier_tries(run_id)
        try:
            with Leases(self.clients.pubsub, self._subscription) as leases:
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

    def _of_earlier_tries(self, run_id: str) -> ReplayCounts:
        from imagen_ops.google.rest import explained

        with explained("reading what earlier tries of this run did"):
            lately = self.clients.history(REPLAY_RECORDS).since(
                datetime.now(UTC) - timedelta(days=2)
            )
        of_this_run = [
            record for record in lately if record["run_id"] == run_id and not record["dry_run"]
        ]
        return ReplayCounts.of(of_this_run[-1]) if of_this_run else ReplayCounts()

    def _keep(
        self, run_id: str, form: ReplayForm, tally: ReplayCounts, *, finished: bool
    ) -> dict[str, Any]:
        from imagen_ops.google.rest import explained

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
        leases: Leases,
        tally: ReplayCounts,
    ) -> None:
        settings = task.settings
        self._task = task
        self._form = form
        self._leases = leases
        self._tally = tally
        self._messages = task.clients.pubsub
        # A prompt that fails again at once would otherwise use up all its replays in one run.
        self._began = dag_run.start_date
        self._topic = settings.topic(settings.prompts_topic)
        self._archive = Archive(task.clients.storage.client(), settings.bucket, dag_run.run_id)
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
        self._count(decision for _, decision in batch if decision.disposition is Disposition.LEAVE)
        replays = [each for each in batch if each[1].disposition is Disposition.REPLAY]
        if replays:
            again = [decision.letter.again() for _, decision in replays if decision.letter]
            self._messages.publish_all(self._topic, again)
            self._finish(replays)
        archived = [each for each in batch if each[1].disposition is Disposition.ARCHIVE]
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
