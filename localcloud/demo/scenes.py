"""The demo's scenes in order: the DAGs start the stream, use it, assess it and drain it.

While the stream runs, a backfill generates images from prompt files, and a dead letter is replayed.
"""

import contextlib
import mimetypes
import queue
import time
from collections.abc import Mapping, Set
from typing import Any

from beam_jobs.cli import gallery, watch
from beam_jobs.cli.progress import Progress, Tally, counted
from beam_jobs.cli.publish import publish
from beam_jobs.cli.sheet import contact_sheet
from beam_jobs.images.location import Location
from localcloud.airflow import AirflowClient
from localcloud.demo import prompts, references, runs
from localcloud.demo.accounting import Accounting, Outcomes, format_counts
from localcloud.demo.errors import DemoError
from localcloud.demo.folder import Folder
from localcloud.demo.output import Output
from localcloud.demo.stage import Stage
from localcloud.resources import Names

START, HEALTH, DRAIN = "imagen_stream_start", "imagen_stream_health", "imagen_stream_drain"
BACKFILL, REPLAY = "imagen_backfill", "imagen_dead_letters_replay"

# Long enough for a machine that is busy with other things.
_WITHIN_S = 300.0
_NAMES = Names()
_PROJECT_PATH = f"projects/{_NAMES.project}"
_IMAGES = f"gs://{_NAMES.bucket}/images"
_PROMPT_FILES = f"gs://{_NAMES.bucket}/prompts/ds=2026-11-01"
_REFERENCES = f"gs://{_NAMES.bucket}/references"
# What is uploaded before anything is sent, by folder.
_FILES = {
    _PROMPT_FILES: prompts.backfill_files,
    f"gs://{_NAMES.bucket}/templates/prompts": prompts.template_files,
    _REFERENCES: references.reference_files,
}
_MAX_PICTURES = 500
# How the `source` of predictions and dead letters begins.
_STREAM, _BACKFILL = "stream", "backfill:"

OutcomeQueue = queue.Queue[dict[str, Any]]


def run(stage: Stage, folder: Folder, output: Output) -> None:
    """Run all scenes.

    Raises:
        DemoError, AirflowError, google.api_core.exceptions.GoogleAPIError: a scene failed, or the
            totals do not add up.
    """
    with (
        output.scene(
            "local cloud",
            "Local cloud: Pub/Sub, Cloud Storage, Vertex AI, Dataflow and Monitoring",
        ),
        output.waiting(lambda: "waiting for the local cloud to start"),
    ):
        stage.start_cloud()
    with contextlib.ExitStack() as resources:
        with output.scene("Airflow", "Airflow with dags/ and plugins/; prompt files are uploaded"):
            stage.start_airflow()
            for folder_path, files in _FILES.items():
                _upload(folder_path, files())
                output.line(f"uploaded to {folder_path}/: {', '.join(files())}")
            arrived = resources.enter_context(
                watch.watch_topics(_NAMES.project, ["predictions", "dead-letters"])
            )
            with output.waiting(stage.airflow_status):
                airflow = stage.airflow()
            client = resources.enter_context(airflow.client())
            password = airflow.home.passwords()["admin"]
            output.line(
                f"Airflow's UI while the demo runs: {airflow.url} (user admin, password {password})"
            )
        with output.scene("start", f"DAG {START}: launch the job and send a canary through it"):
            runs.run(client, START, output, check=stage.check, within_s=_WITHIN_S)
        bodies = list(prompts.stream_bodies())
        with output.scene(
            "prompts",
            f"Publishing {len(bodies)} prompts: text, JSON, many scripts, edits of pictures, "
            "blocked and malformed",
        ):
            streamed = _stream(stage, bodies, arrived, output)
        with output.scene("health", f"DAG {HEALTH}: assess the stream after those prompts"):
            run_id = runs.run(client, HEALTH, output, check=stage.check, within_s=_WITHIN_S)
            output.line(f"verdict: {client.xcom(HEALTH, run_id, 'conclude')}")
        with output.scene(
            "backfill", f"DAG {BACKFILL}: images for the uploaded files, while the stream runs"
        ):
            backfill, backfill_outcomes = _backfill(stage, client, arrived, output)
        with output.scene("dead letter", "Publishing a prompt while the model returns no images"):
            outage = _publish_during_outage(stage, arrived, output, known=streamed.keys)
        with output.scene("replay", f"DAG {REPLAY}: the model returns images again"):
            _upload(_REFERENCES, {references.LATE: references.late_file()})
            output.line(f"uploaded, for the prompt that shows it: {_REFERENCES}/{references.LATE}")
            replay, replayed = _replay(stage, client, arrived, output, known=streamed.keys)
        with output.scene("drain", f"DAG {DRAIN}: take no more prompts, finish those in progress"):
            drain = _drain(stage, client, output)
    with output.scene("images", "Checking the totals and fetching the images"):
        accounting = Accounting(
            published=len(bodies),
            stream=streamed,
            backfill=backfill,
            backfill_outcomes=backfill_outcomes,
            outage=outage,
            replay=replay,
            replayed_outcomes=replayed,
            drain=drain,
        )
        if discrepancies := accounting.discrepancies():
            raise DemoError(f"the totals do not add up: {'; '.join(discrepancies)}")
        output.line("Every prompt is accounted for")
        records = gallery.newest(Location.parse(_IMAGES), _NAMES.project, _MAX_PICTURES)
        fetching = Progress("fetching images", sum(len(record["images"]) for record in records))
        with output.progress(fetching.__str__):
            sheet = contact_sheet(records, _NAMES.project, folder.sheet, fetched=fetching.add)
        output.line(f"Contact sheet of all images: {sheet}")


def _stream(stage: Stage, bodies: list[bytes], arrived: OutcomeQueue, output: Output) -> Outcomes:
    started = time.monotonic()
    publish(f"{_PROJECT_PATH}/topics/prompts", iter(bodies), {})
    outcomes = _collect(stage, arrived, len(bodies), output, source=_STREAM)
    seconds = time.monotonic() - started
    output.line(f"{len(bodies)} prompts in {seconds:.1f} s: {outcomes}")
    return outcomes


def _backfill(
    stage: Stage, client: AirflowClient, arrived: OutcomeQueue, output: Output
) -> tuple[Mapping[str, Any], Outcomes]:
    conf = {"prompts": f"{_PROMPT_FILES}/*"}
    run_id = runs.run(client, BACKFILL, output, check=stage.check, within_s=_WITHIN_S, conf=conf)
    for line in client.xcom(BACKFILL, run_id, "check").splitlines():
        output.line(f"plan: {line.strip()}")
    record: dict[str, Any] = client.xcom(BACKFILL, run_id, "reconcile")
    counts = record["counts"]
    total = counts["predictions"] + counts["failures"]
    outcomes = _collect(stage, arrived, total, output, source=_BACKFILL)
    output.line(
        f"report: {counts['prompts']} prompts = {counts['predictions']} predictions "
        f"({counts['reused']} reused at no cost) + {counted(counts['failures'], 'failure')}"
    )
    for line in record["noted"]:
        output.line(f"note: {line}")
    return record, outcomes


def _publish_during_outage(
    stage: Stage, arrived: OutcomeQueue, output: Output, *, known: Set[str]
) -> Outcomes:
    stage.configure_models(empty_rate=1)
    publish(f"{_PROJECT_PATH}/topics/prompts", iter([prompts.outage_body()]), {})
    outcomes = _collect(stage, arrived, 1, output, source=_STREAM, known=known)
    stage.configure_models(empty_rate=0)
    return outcomes


def _replay(
    stage: Stage,
    client: AirflowClient,
    arrived: OutcomeQueue,
    output: Output,
    *,
    known: Set[str],
) -> tuple[Mapping[str, Any], Outcomes]:
    run_id = runs.run(client, REPLAY, output, check=stage.check, within_s=_WITHIN_S)
    record: dict[str, Any] = client.xcom(REPLAY, run_id, "replay")
    replayed, archived = record["replayed"], record["archived"]
    count = sum(replayed.values())
    output.line(f"{count} published again: {format_counts(replayed)}")
    output.line(
        f"{sum(archived.values())} archived, because they would fail again: "
        f"{format_counts(archived)}"
    )
    outcomes = _collect(stage, arrived, count, output, source=_STREAM, known=known)
    return record, outcomes


def _drain(stage: Stage, client: AirflowClient, output: Output) -> Mapping[str, Any]:
    run_id = runs.run(client, DRAIN, output, check=stage.check, within_s=_WITHIN_S)
    report: dict[str, Any] = client.xcom(DRAIN, run_id, "report")
    output.line(
        f"report: the job is {report['state']}; prompts left in the backlog: {report['backlog']}"
    )
    return report


def _collect(
    stage: Stage,
    arrived: OutcomeQueue,
    count: int,
    output: Output,
    *,
    source: str,
    known: Set[str] = frozenset(),
) -> Outcomes:
    """Print the outcomes of a source's prompts until `count` of them have arrived.

    An outcome whose prompt was counted before, here or in an earlier scene, is a redelivery.

    Args:
        stage: checked for failures while waiting.
        arrived: the queue that outcomes arrive in.
        count: the number of prompts to wait for.
        output: where outcomes are printed.
        source: how the `source` of the outcomes begins; others are ignored.
        known: the deduplication keys that earlier scenes have counted.

    Raises:
        DemoError: not all of them arrived in time, or the local cloud has stopped.
    """
    outcomes = Outcomes()
    progress, tally = Progress("prompts back", count), Tally()
    deadline = time.monotonic() + _WITHIN_S
    with output.progress(lambda: f"{progress} · {tally}"):
        while outcomes.total() < count:
            stage.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{count - outcomes.total()} of {count} prompts did not come back within "
                    f"{_WITHIN_S:.0f} s"
                )
            for message in watch.arrivals(arrived, count=1, seconds=1.0):
                # The health DAG sends canaries whenever it likes.
                if message["canary"] or not message["source"].startswith(source):
                    continue
                if message["deduplication_key"] in known or not outcomes.add(message):
                    continue
                progress.add()
                tally.add(message)
                output.item(outcomes.total(), count, watch.describe(message))
    return outcomes


def _upload(folder: str, files: Mapping[str, bytes]) -> None:
    from google.cloud import storage

    bucket = storage.Client(project=_NAMES.project).bucket(_NAMES.bucket)
    prefix = Location.parse(folder).prefix
    for name, content in files.items():
        content_type = mimetypes.guess_type(name)[0] or "text/plain"
        bucket.blob(prefix + name).upload_from_string(content, content_type)
