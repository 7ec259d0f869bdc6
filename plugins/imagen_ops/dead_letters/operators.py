"""Replaying, archiving or leaving dead letters, without losing any.

A dead letter is acknowledged only after its prompt is published again, or its archive object is
written. If the task is stopped in between, Pub/Sub delivers the dead letter again. A prompt that is
then replayed twice is not paid for twice, because the job finds its images, unless the prompt asks
for fresh images and has no `id`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowException
from typing_extensions import override

from imagen_ops.dag.lineage import Lineage
from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.dead_letters.archive import Archive, Entry, by_folder
from imagen_ops.dead_letters.decision import Decision, Disposition, ReplayCounts, ReplayForm, decide
from imagen_ops.dead_letters.leases import Leases
from imagen_ops.errors import ApiError
from imagen_ops.records.actions import Stage
from imagen_ops.records.folders import REPLAY_RECORDS

RECORD_SCHEMA = "imagen.replay/1"

# How many are in memory at a time. A dead letter has at most 1.4 MB, a response of Pub/Sub 10 MB.
BATCH = 500
# A pull can return nothing although there are messages, so one empty pull proves nothing.
_EMPTY_PULLS = 2
# Records of earlier tries of the same run are looked for in this time.
_EARLIER_TRIES = timedelta(days=2)


class ReplayDeadLetters(ImagenOperator):
    """Replay or archive the dead letters that exist when the run begins, up to the form's maximum.

    Returns its record (XCom), which is also stored under `records/replays`: `{"schema", "run_id",
    "at", "dry_run", "finished", "replayed", "archived", "left", "unreadable"}`. The counts are by
    reason and include those of earlier tries of the same run. Unreadable messages are archived
    too, under a reason of their own.
    """

    _killed = False

    @override
    def act(self, context: Any) -> dict[str, Any]:
        form, run_id = ReplayForm.from_fields(context["params"]), context["run_id"]
        self.note(context, Stage.REQUESTED, form=dict(context["params"]))
        counts = ReplayCounts() if form.dry_run else self._counts_of_earlier_tries(run_id)
        try:
            if not form.dry_run:
                self.lineage = Lineage.of_replay(self.settings)
            with Leases(self.clients.pubsub, self._subscription) as leases:
                _Replay(self, form, context["dag_run"], leases, counts).run()
        except BaseException:
            self._save_record(run_id, form, counts, finished=False)
            raise
        return self._save_record(run_id, form, counts, finished=True)

    @override
    def on_kill(self) -> None:
        # The current batch is finished first; Airflow kills the process if that takes too long.
        self._killed = True

    def stop_if_killed(self) -> None:
        """Raise `AirflowException` if the task was told to end."""
        if self._killed:
            raise AirflowException(
                "the task was told to end. The dead letters that it still held go back to the "
                "subscription, and none is lost"
            )

    @property
    def _subscription(self) -> str:
        return self.settings.subscription(self.settings.dead_letters_subscription)

    def _counts_of_earlier_tries(self, run_id: str) -> ReplayCounts:
        from imagen_ops.google.rest import explained

        with explained("reading the records of earlier tries of this run"):
            records = self.clients.history(REPLAY_RECORDS).since(datetime.now(UTC) - _EARLIER_TRIES)
        of_this_run = [
            record for record in records if record["run_id"] == run_id and not record["dry_run"]
        ]
        return ReplayCounts.from_record(of_this_run[-1]) if of_this_run else ReplayCounts()

    def _save_record(
        self, run_id: str, form: ReplayForm, counts: ReplayCounts, *, finished: bool
    ) -> dict[str, Any]:
        from imagen_ops.google.rest import explained

        prefix = "dry run, nothing was changed; it would be: " if form.dry_run else ""
        self.log.info("%s%s", prefix, counts)
        record = {
            "schema": RECORD_SCHEMA,
            "run_id": run_id,
            "at": datetime.now(UTC).isoformat(),
            "dry_run": form.dry_run,
            "finished": finished,
            **counts.to_json(),
        }
        try:
            with explained("writing the record of this run"):
                self.clients.history(REPLAY_RECORDS).put(record)
        except ApiError as error:
            # If the task failed here, the next try would find no dead letters, and report 0.
            self.log.warning("%s", error)
        return record


class _Replay:
    """The work of one try."""

    def __init__(
        self,
        task: ReplayDeadLetters,
        form: ReplayForm,
        dag_run: Any,
        leases: Leases,
        counts: ReplayCounts,
    ) -> None:
        settings = task.settings
        self._task = task
        self._form = form
        self._leases = leases
        self._counts = counts
        self._messages = task.clients.pubsub
        # Later dead letters wait for the next run. Otherwise a prompt that fails again at once
        # would use up all its replays in this one.
        self._began = dag_run.start_date
        self._topic = settings.topic(settings.prompts_topic)
        self._archive = Archive(task.clients.storage.client(), settings.bucket, dag_run.run_id)
        self._seen: set[str] = set()
        self._done: set[str] = set()

    def run(self) -> None:
        """Handle batches until pulls bring no new dead letters, or the maximum is reached."""
        empty_pulls = 0
        while empty_pulls < _EMPTY_PULLS and len(self._seen) < self._form.most:
            self._task.stop_if_killed()
            pulled = self._leases.pull(min(BATCH, self._form.most - len(self._seen)))
            # Pub/Sub may deliver a message again even after it was acknowledged.
            self._leases.acknowledge(
                {message.id: message for message in pulled if message.id in self._done}.values()
            )
            new = {
                message.id: message
                for message in pulled
                if message.id not in self._seen and message.published_at < self._began
            }
            self._seen |= new.keys()
            empty_pulls = 0 if new else empty_pulls + 1
            self._handle([(message, decide(message.data, self._form)) for message in new.values()])

    def _handle(self, batch: list[Entry]) -> None:
        from imagen_ops.health.assessment.formatting import count

        if self._form.dry_run:
            self._count(decision for _, decision in batch)
            return
        self._count(decision for _, decision in batch if decision.disposition is Disposition.LEAVE)
        to_replay = [entry for entry in batch if entry[1].disposition is Disposition.REPLAY]
        if to_replay:
            prompts = [
                decision.letter.replay_message() for _, decision in to_replay if decision.letter
            ]
            self._messages.publish_all(self._topic, prompts)
            self._finish(to_replay)
        to_archive = [entry for entry in batch if entry[1].disposition is Disposition.ARCHIVE]
        for folder, group in by_folder(to_archive).items():
            self._leases.renew()
            path = self._archive.put(folder, group)
            self._task.log.info("archived %s in %s", count(len(group), "dead letter"), path)
            self._finish(group)

    def _finish(self, group: list[Entry]) -> None:
        self._leases.acknowledge(message for message, _ in group)
        self._done.update(message.id for message, _ in group)
        self._count(decision for _, decision in group)

    def _count(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self._counts.add(decision)
