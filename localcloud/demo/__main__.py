"""`python -m localcloud.demo`: prompts in, images out, on this machine.

Starts the stand-ins, runs the real streaming job against them, publishes prompts of every kind,
shows what becomes of each, runs a backfill over files of every format, drains the stream, adds
up, and leaves a contact sheet.
"""

import argparse
import collections
import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from beam_jobs.cli import gallery, watch
from beam_jobs.cli.publish import publish
from beam_jobs.store import Location
from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names

_WITHIN_S = 180.0
_NAMES = Names()
_P = f"projects/{_NAMES.project}"
_LOCATION = f"gs://{_NAMES.bucket}/images"
_NIGHT = f"gs://{_NAMES.bucket}/prompts/ds=2026-11-01"


class DemoError(RuntimeError):
    """The demo did not show what it is there to show."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m localcloud.demo", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".state/demo"))
    folder: Path = parser.parse_args(argv).state.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _cloud(folder):
            return _show(folder)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _show(folder: Path) -> int:
    _say("Streaming job: starting, and sending a canary there and back")
    ended: collections.Counter[str] = collections.Counter()
    with (
        _stream(folder) as job,
        watch.watching(_NAMES.project, ["predictions", "dead-letters"]) as arrived,
    ):
        _canary(job, arrived)
        bodies = list(_stream_bodies())
        _say(f"Publishing {len(bodies)} prompts: text, JSON, every script, refused, malformed")
        started = time.monotonic()
        publish(f"{_P}/topics/prompts", iter(bodies), {})
        _follow(arrived, len(bodies), ended)
        seconds = time.monotonic() - started
        _say(f"{len(bodies)} prompts in {seconds:.1f} s: {_sum(ended)}")

        files = _upload_night()
        _say(f"Backfill over {', '.join(files)}, while the stream runs")
        report = _backfill(folder)
        _follow(arrived, report["predictions"] + report["failures"], collections.Counter())
        _say(
            f"Report: {report['prompts']} prompts = {report['predictions']} predictions "
            f"({report['reused']} reused, unpaid) + {report['failures']} failures"
        )
        _say("Draining the stream")
        job.send_signal(signal.SIGTERM)
        if job.wait(_WITHIN_S):
            raise DemoError(f"the job ended with {job.returncode}; its log is {folder}/stream.log")
    records = gallery.newest(Location.parse(_LOCATION), _NAMES.project, 500)
    sheet = gallery.contact_sheet(records, _NAMES.project, folder / "contact-sheet")
    _say(f"Drained. Every prompt is accounted for. The pictures: {sheet}")
    if sum(ended.values()) != len(bodies):
        raise DemoError(f"{len(bodies)} prompts went in, {sum(ended.values())} came out")
    if report["prompts"] != report["predictions"] + report["failures"]:
        raise DemoError(f"the report does not add up: {report}")
    return 0


@contextlib.contextmanager
def _cloud(folder: Path) -> Iterator[None]:
    state = ["--state", str(folder / "localcloud")]
    if localcloud_cli.main([*state, "up", "--detach"]):
        raise DemoError("the stand-ins for Google Cloud did not start")
    environment = localcloud_cli.environment_of(folder / "localcloud")
    assert environment is not None
    os.environ.update(environment)
    try:
        yield
    finally:
        localcloud_cli.main([*state, "down"])


@contextlib.contextmanager
def _stream(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [
        *(sys.executable, "-m", "beam_jobs.stream"),
        "--runner=localcloud.runner.MicroBatchRunner",
        f"--messages_subscription={_P}/subscriptions/prompts-sub",
        *_outputs(),
    ]
    with (folder / "stream.log").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield job
    finally:
        if job.poll() is None:
            job.kill()


def _backfill(folder: Path) -> dict[str, Any]:
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "beam_jobs.backfill"),
        f"--prompts={_NIGHT}/*",
        f"--report={report}",
        "--source=backfill:demo",
        *_outputs(),
    ]
    with (folder / "backfill.log").open("wb") as log:
        if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
            raise DemoError(f"the backfill failed; its log is {folder}/backfill.log")
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def _outputs() -> list[str]:
    return [
        f"--project={_NAMES.project}",
        f"--responses_topic={_P}/topics/predictions",
        f"--dead_letter_topic={_P}/topics/dead-letters",
        f"--images_output_location={_LOCATION}",
    ]


def _canary(job: "subprocess.Popen[bytes]", arrived: Any) -> None:
    name = uuid.uuid4().hex
    publish(f"{_P}/topics/prompts", iter([b"canary"]), {"canary": name})
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        if job.poll() is not None:
            raise DemoError("the streaming job did not start; its log is stream.log")
        for message in watch.arrivals(arrived, count=1, seconds=1.0):
            if message["prompt_id"] == name:
                return
    raise DemoError(f"no canary came back within {_WITHIN_S:.0f} s")


def _follow(arrived: Any, count: int, ended: "collections.Counter[str]") -> None:
    seen = 0
    for message in watch.arrivals(arrived, count=count, seconds=_WITHIN_S):
        seen += 1
        ended[message.get("reason", "predictions")] += 1
        print(f"{seen:>4}/{count} {watch.line(message)}", flush=True)
    if seen < count:
        raise DemoError(f"{count - seen} of {count} prompts have not come back")


def _stream_bodies() -> Iterator[bytes]:
    yield from _sample("stream.txt").splitlines()
    yield from _sample("structured.jsonl").splitlines()
    # The local models take these words as requests for trouble.
    for text in (
        "Trouble that passes: fault:unavailable-once",
        "Quota that runs out: fault:quota-once",
        "An answer without an image, at first: fault:empty-once",
        "A prompt that is refused: fault:blocked",
        "An image that is withheld: fault:blocked-image",
        "A request that the model does not take: fault:invalid",
    ):
        yield text.encode("utf-8")
    yield b"\xff\xfe not UTF-8"
    yield b""" {"prompt": "An unknown field", "imagse": 2}"""
    yield b"""{"prompt": "Too many", "images": 9}"""
    yield b"""{"prompt": "A model that is not allowed", "model": "imagen-3.0-generate-002"}"""
    yield b"""{"prompt": """
    yield b"   "


def _upload_night() -> list[str]:
    from google.cloud import storage

    bucket = storage.Client(project=_NAMES.project).bucket(_NAMES.bucket)
    prefix = Location.parse(_NIGHT).prefix
    files = {name: _sample(name) for name in ("markets.txt", "animals.csv", "harbours.jsonl")}
    files["gardens.txt.gz"] = gzip.compress(_sample("gardens.txt"))
    for name, content in files.items():
        bucket.blob(prefix + name).upload_from_string(content)
    return list(files)


def _sample(name: str) -> bytes:
    return (resources.files("localcloud.demo") / "samples" / name).read_bytes()


def _sum(ended: "collections.Counter[str]") -> str:
    return ", ".join(f"{count} {what}" for what, count in ended.most_common())


def _say(text: str) -> None:
    print(f"\n── {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
