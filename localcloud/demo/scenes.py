"""The demo's scenes, in order: the stream started, used, looked after and drained, by its DAGs.

While it runs, a night of prompt files is made beside it, and a dead letter is given another chance.
"""

import contextlib
import queue
import time
from collections.abc import Mapping, Set
from typing import Any

from beam_jobs.cli import gallery, watch
from beam_jobs.cli.progress import Progress, Tally
from beam_jobs.cli.publish import publish
from beam_jobs.cli.sheet import contact_sheet
from beam_jobs.images.store import Location
from localcloud.airflow import AirflowClient
from localcloud.demo import prompts, runs
from localcloud.demo.errors import DemoError
from localcloud.demo.folder import Folder
from localcloud.demo.stage import Stage
from localcloud.demo.sums import Ended, Sums, in_words
from localcloud.demo.telling import Teller
from localcloud.resources import Names

START, HEALTH, DRAIN = "imagen_stream_start", "imagen_stream_health", "imagen_stream_drain"
BACKFILL, REPLAY = "imagen_backfill", "imagen_dead_letters_replay"

# On a machine that is busy with other things.
_WITHIN_S = 300.0
_NAMES = Names()
_P = f"projects/{_NAMES.project}"
_LOCATION = f"gs://{_NAMES.bucket}/images"
_NIGHT = f"gs://{_NAMES.bucket}/prompts/ds=2026-11-01"
_MAX_PICTURES = 500
# How predictions and dead letters say whose they are.
_STREAM, _BACKFILL = "stream", "backfill:"

Arrived = queue.Queue[dict[str, Any]]


def show(stage: Stage, folder: Folder, tell: Teller) -> None:
    """Show all scenes.

    Raises:
        DemoError, AirflowError, google.api_core.exceptions.GoogleAPIError: one did not go as it
            should, or it does not add up.
    """
    with (
        tell.scene("local cloud", "Local cloud: Pub/Sub, Storage, Vertex AI, Dataflow, Monitoring"),
        tell.waiting(lambda: "for the local cloud to serve"),
    ):
        stage.start_cloud()
    with contextlib.ExitStack() as opened:
        with tell.scene("Airflow", "Airflow, with dags/ and plugins/; prompt files meanwhile"):
            stage.start_airflow()
            files = _upload_night()
            tell.line(f"{_NIGHT}/ has {', '.join(files)}")
            arrived = opened.enter_context(
                watch.watching(_NAMES.project, ["predictions", "dead-letters"])
            )
            with tell.waiting(stage.waits_for):
                airflow = stage.airflow()
            client = opened.enter_context(airflow.client())
            password = airflow.home.passwords()["admin"]
            tell.line(f"its UI, for as long as this runs: {airflow.url} (admin, {password})")
        with tell.scene("start", f"DAG {START}: launch the job, send a canary there and back"):
            runs.run(client, START, tell, check=stage.check, within_s=_WITHIN_S)
        bodies = list(prompts.stream_bodies())
        with tell.scene(
            "prompts",
            f"Publishing {len(bodies)} prompts: text, JSON, every script, refused, malformed",
        ):
            ended = _stream(stage, bodies, arrived, tell)
        with tell.scene("health", f"DAG {HEALTH}: how is the stream, of which many were bad?"):
            run_id = runs.run(client, HEALTH, tell, check=stage.check, within_s=_WITHIN_S)
            tell.line(f"verdict: {client.xcom(HEALTH, run_id, 'conclude')}")
        with tell.scene("backfill", f"DAG {BACKFILL}: over those files, while the stream runs"):
            backfill, followed = _backfill(stage, client, arrived, tell)
        with tell.scene("dead letter", "A prompt comes while the model gives no images"):
            unlucky = _fail(stage, arrived, tell, known=ended.prompt_ids)
        with tell.scene("replay", f"DAG {REPLAY}: the model is well again"):
            replay, again = _replay(stage, client, arrived, tell, known=ended.prompt_ids)
        with tell.scene("drain", f"DAG {DRAIN}: no more prompts, finish those under way"):
            drained = _drain(stage, client, tell)
    with tell.scene("pictures", "Adding up"):
        sums = Sums(
            published=len(bodies),
            stream=ended,
            backfill=backfill,
            followed=followed,
            unlucky=unlucky,
            replay=replay,
            again=again,
            drained=drained,
        )
        if wrong := sums.wrong():
            raise DemoError(f"it does not add up: {'; '.join(wrong)}")
        tell.line("Every prompt is accounted for")
        records = gallery.newest(Location.parse(_LOCATION), _NAMES.project, _MAX_PICTURES)
        fetching = Progress("fetching images", sum(len(record["images"]) for record in records))
        with tell.going_on(fetching.__str__):
            sheet = contact_sheet(records, _NAMES.project, folder.sheet, fetched=fetching.add)
        tell.line(f"The pictures: {sheet}")


def _stream(stage: Stage, bodies: list[bytes], arrived: Arrived, tell: Teller) -> Ended:
    began = time.monotonic()
    publish(f"{_P}/topics/prompts", iter(bodies), {})
    ended = _follow(stage, arrived, len(bodies), tell, source=_STREAM)
    seconds = time.monotonic() - began
    tell.line(f"{len(bodies)} prompts in {seconds:.1f} s: {ended}")
    return ended


def _backfill(
    stage: Stage, client: AirflowClient, arrived: Arrived, tell: Teller
) -> tuple[Mapping[str, Any], Ended]:
    conf = {"prompts": f"{_NIGHT}/*"}
    run_id = runs.run(client, BACKFILL, tell, check=stage.check, within_s=_WITHIN_S, conf=conf)
    for line in client.xcom(BACKFILL, run_id, "check").splitlines():
        tell.line(f"plan: {line.strip()}")
    record: dict[str, Any] = client.xcom(BACKFILL, run_id, "reconcile")
    counts = record["counts"]
    outcomes = counts["predictions"] + counts["failures"]
    followed = _follow(stage, arrived, outcomes, tell, source=_BACKFILL)
    tell.line(
        f"report: {counts['prompts']} prompts = {counts['predictions']} predictions "
        f"({counts['reused']} reused, unpaid) + {counts['failures']} failures"
    )
    for line in record["noted"]:
        tell.line(f"noted: {line}")
    return record, followed


def _fail(stage: Stage, arrived: Arrived, tell: Teller, *, known: Set[str]) -> Ended:
    stage.models(empty_rate=1)
    publish(f"{_P}/topics/prompts", iter([prompts.unlucky_body()]), {})
    ended = _follow(stage, arrived, 1, tell, source=_STREAM, known=known)
    stage.models(empty_rate=0)
    return ended


def _replay(
    stage: Stage, client: AirflowClient, arrived: Arrived, tell: Teller, *, known: Set[str]
) -> tuple[Mapping[str, Any], Ended]:
    run_id = runs.run(client, REPLAY, tell, check=stage.check, within_s=_WITHIN_S)
    record: dict[str, Any] = client.xcom(REPLAY, run_id, "replay")
    replayed, archived = record["replayed"], record["archived"]
    tell.line(f"{sum(replayed.values())} back to the prompts: {in_words(replayed)}")
    tell.line(f"{sum(archived.values())} that would fail again archived: {in_words(archived)}")
    again = _follow(stage, arrived, sum(replayed.values()), tell, source=_STREAM, known=known)
    return record, again


def _drain(stage: Stage, client: AirflowClient, tell: Teller) -> Mapping[str, Any]:
    run_id = runs.run(client, DRAIN, tell, check=stage.check, within_s=_WITHIN_S)
    drained: dict[str, Any] = client.xcom(DRAIN, run_id, "report")
    tell.line(f"report: the job is {drained['state']}; left in the backlog: {drained['backlog']}")
    return drained


def _follow(
    stage: Stage,
    arrived: Arrived,
    count: int,
    tell: Teller,
    *,
    source: str,
    known: Set[str] = frozenset(),
) -> Ended:
    """Tell of what a source's prompts have become until `count` of them were seen.

    What was seen before, here or in an earlier scene (`known`), is a prompt that came twice.
    """
    ended = Ended()
    came, tally = Progress("prompts back", count), Tally()
    deadline = time.monotonic() + _WITHIN_S
    with tell.going_on(lambda: f"{came} · {tally}"):
        while ended.total() < count:
            stage.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{count - ended.total()} of {count} prompts have not come back")
            for message in watch.arrivals(arrived, count=1, seconds=1.0):
                # Canaries are health's, which probes the stream whenever it likes.
                if message["canary"] or not message["source"].startswith(source):
                    continue
                if message["prompt_id"] in known or not ended.add(message):
                    continue
                came.add()
                tally.add(message)
                tell.item(ended.total(), count, watch.line(message))
    return ended


def _upload_night() -> list[str]:
    from google.cloud import storage

    bucket = storage.Client(project=_NAMES.project).bucket(_NAMES.bucket)
    prefix = Location.parse(_NIGHT).prefix
    files = prompts.night_files()
    for name, content in files.items():
        bucket.blob(prefix + name).upload_from_string(content)
    return list(files)
