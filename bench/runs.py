"""Runs a job or a contender once, and measures it."""

import contextlib
import dataclasses
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from google import pubsub_v1
from google.cloud import storage

from bench.interpreter import ROOT
from bench.processes import Process, machine_s
from bench.prompts import text
from bench.receiver import Receiver
from bench.stand_ins import NAMES, Cloud, Samples
from localcloud.clients import raw_client

P = f"projects/{NAMES.project}"
_POLL_S = 0.02
_PUBLISH_BATCH = 500
_PROMPTS_PER_FILE = 1000
_START_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True)
class Run:
    """The figures of one run, in which every prompt got its image.

    Attributes:
        contender: `backfill`, `stream`, or the name of a contender.
        prompts: the number of prompts.
        seconds: from the first model call to the last outcome. For our jobs, that is the last
            prediction received; for a contender, the last image that the model returned.
        cpu_ms: the process's CPU time during those seconds, per prompt.
        others_cpu_ms: the same of the stand-ins.
        busy: the used share of all the machine's cores.
        peak_mb: the process's peak resident size.
        cold_start_s: from the start of the process to its first model call.
        middle_per_s: responses of the model per second, without the first and the last tenth, as
            in an endless run. Outcomes would not do, because they arrive in batches.
        middle_in_flight: the mean number of calls in flight, without those tenths.
        refused: calls refused because of the quota.
        paid_twice: images beyond one per prompt.
        most_sockets: the most open sockets of the process.
    """

    contender: str
    prompts: int
    seconds: float
    cpu_ms: float
    others_cpu_ms: float
    busy: float
    peak_mb: float
    cold_start_s: float
    middle_per_s: float | None
    middle_in_flight: float | None
    refused: int = 0
    paid_twice: int = 0
    most_sockets: int = 0

    @property
    def per_s(self) -> float:
        """Prompts a second."""
        return self.prompts / self.seconds

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "per_s": round(self.per_s, 2)}


class _Watch:
    """Records CPU times at the first model call, and computes a `Run` at the end.

    With `at_once`, it records them immediately. This is for a process that is already running,
    which may process prompts before all of them are published.
    """

    def __init__(
        self, cloud: Cloud, process: Process, samples: Samples, *, at_once: bool = False
    ) -> None:
        self._cloud, self._process, self._samples = cloud, process, samples
        if not at_once:
            self.wait_for_call()
        self._record()

    def wait_for_call(self) -> None:
        """Wait for the first model call."""
        process, samples = self._process, self._samples
        deadline = time.monotonic() + _START_WITHIN_S
        while samples.first_call() is None:
            if not process.running or time.monotonic() > deadline:
                tail = process.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"no model call was made; the end of {process.log}:\n{tail}")
            time.sleep(_POLL_S)
        self.first = samples.first_call() or 0.0

    def _record(self) -> None:
        self._cpu, self._others = self._process.cpu_s(), self._cloud.cpu_s()
        self._machine = machine_s()

    def run(self, contender: str, prompts: int, ended: Sequence[float]) -> Run:
        """Return the figures; `ended` has the times of all outcomes, or of the last one only."""
        return Run(
            contender=contender,
            prompts=prompts,
            seconds=round(ended[-1] - self.first, 2),
            cpu_ms=round(1000 * (self._process.cpu_s() - self._cpu) / prompts, 2),
            others_cpu_ms=round(1000 * (self._cloud.cpu_s() - self._others) / prompts, 2),
            busy=self._busy(),
            peak_mb=round(self._process.peak_mb(), 1),
            cold_start_s=round(self.first - self._process.started, 2),
            most_sockets=self._process.most_sockets,
            **_middle(self._samples.rows, prompts),
        )

    def settled(self, run: Run) -> Run:
        """Add refused and repeated calls, which are known only after the process has ended."""
        counts = self._samples.last
        return dataclasses.replace(
            run,
            refused=counts["refused_for_quota"],
            paid_twice=max(0, counts["images"] - run.prompts),
        )

    def _busy(self) -> float:
        used, idle = (
            after - before for after, before in zip(machine_s(), self._machine, strict=True)
        )
        # A single prompt may finish within one clock tick.
        return round(used / max(used + idle, 0.01), 3)


def contender(cloud: Cloud, name: str, prompts: int, in_flight: int) -> Run:
    """Run one of `bench.contenders`.

    Args:
        cloud: the local cloud.
        name: the contender's module.
        prompts: the number of prompts.
        in_flight: maximum calls in flight, if the contender can be configured.
    """
    folder = cloud.folder / "contender"
    folder.mkdir(exist_ok=True)
    arguments = ["-m", f"bench.contenders.{name}", "--prompts", str(prompts)]
    arguments += ["--in-flight", str(in_flight), "--folder", str(folder), "--run", _new()]
    with Samples(cloud) as samples:
        process = Process(arguments, cloud.environment, cloud.folder / f"{name}.log")
        with _ended(process):
            watch = _Watch(cloud, process, samples)
            figures = _to_the_last_image(watch, process, samples, name, prompts)
            process.wait()
            figures = watch.settled(figures)
    written = sum(1 for _ in folder.iterdir())
    shutil.rmtree(folder)
    if written != prompts:
        raise RuntimeError(f"{name} wrote {written} of {prompts} images")
    return figures


def _to_the_last_image(
    watch: _Watch, process: Process, samples: Samples, name: str, prompts: int
) -> Run:
    """Watch a contender until its end; return the figures up to its last image.

    Only at the end is it known which image was the last, because some images may be paid for twice.
    """
    figures: Run | None = None
    images = 0
    running = True
    while running:
        running = process.running
        process.cpu_s(), process.peak_mb()  # the process may have ended at the next poll
        at, counts = samples.rows[-1]
        if figures is None or counts["images"] > images:
            images = counts["images"]
            figures = watch.run(name, prompts, [at])
        time.sleep(_POLL_S)
    assert figures is not None
    return figures


def backfill(cloud: Cloud, prompts: int, in_flight: int, build: Path = ROOT) -> Run:
    """Run the backfill job over files of prompts.

    Args:
        cloud: the local cloud.
        prompts: the number of prompts.
        in_flight: maximum calls in flight.
        build: the folder of the code that runs.
    """
    run = _new()
    put_files(run, prompts)
    receiver = Receiver()
    arguments = [
        *_job("backfill", in_flight),
        f"--prompts=gs://{NAMES.bucket}/prompts/{run}/*",
        f"--report={cloud.folder}/report.json",
        f"--source=backfill:{run}",
    ]
    with contextlib.closing(receiver), Samples(cloud) as samples:
        log = cloud.folder / "backfill.log"
        process = Process(arguments, cloud.environment, log, build=build)
        with _ended(process):
            watch = _Watch(cloud, process, samples)
            receiver.wait(prompts, _within(prompts))
            _refuse_failures(receiver)
            figures = watch.run("backfill", prompts, receiver.times(0))
            process.wait()
            figures = watch.settled(figures)
    report = json.loads((cloud.folder / "report.json").read_text())
    if report["prompts"] != prompts or report["predictions"] != prompts:
        raise RuntimeError(f"expected {prompts} predictions, but the report says: {report}")
    return figures


def stream(cloud: Cloud, prompts: int, in_flight: int) -> Run:
    """Run the streaming job over a backlog of prompts, and drain it."""
    run = _new()
    with streaming(cloud, in_flight) as (process, receiver), Samples(cloud) as samples:
        before = len(receiver.arrived)
        watch = _Watch(cloud, process, samples, at_once=True)
        publish([text(run, n) for n in range(prompts)])
        watch.wait_for_call()
        receiver.wait(before + prompts, _within(prompts))
        _refuse_failures(receiver)
        figures = watch.run("stream", prompts, receiver.times(before))
        process.drain()
        return watch.settled(figures)


@contextlib.contextmanager
def streaming(cloud: Cloud, in_flight: int) -> Iterator[tuple[Process, Receiver]]:
    """Run a streaming job; yield it after its first prediction, with a receiver."""
    receiver = Receiver()
    with contextlib.closing(receiver):
        process = Process(
            stream_arguments(in_flight), cloud.environment, cloud.folder / "stream.log"
        )
        with _ended(process):
            publish([text(_new(), 0)])
            receiver.wait(1, _START_WITHIN_S)
            yield process, receiver
            process.drain()


def stream_arguments(in_flight: int) -> list[str]:
    """Return the command line of the streaming job."""
    return [
        *_job("stream", in_flight),
        f"--messages_subscription={P}/subscriptions/prompts-sub",
        "--runner=localcloud.runner.MicroBatchRunner",
    ]


def cold_stream(cloud: Cloud, in_flight: int) -> float:
    """Return the seconds from the start of the streaming job to its first model call."""
    with Samples(cloud) as samples, streaming(cloud, in_flight) as (process, _):
        return round(_Watch(cloud, process, samples).first - process.started, 2)


def publish(prompts: list[str]) -> None:
    """Publish prompts in batches."""
    publisher = raw_client(pubsub_v1.PublisherClient)
    for start in range(0, len(prompts), _PUBLISH_BATCH):
        batch = prompts[start : start + _PUBLISH_BATCH]
        messages = [pubsub_v1.PubsubMessage(data=prompt.encode()) for prompt in batch]
        publisher.publish(topic=f"{P}/topics/prompts", messages=messages)


def put_files(run: str, prompts: int) -> None:
    """Store files of prompts in `prompts/<run>/`, small enough that they are not deleted."""
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    for file, first in enumerate(range(0, prompts, _PROMPTS_PER_FILE)):
        numbers = range(first, min(prompts, first + _PROMPTS_PER_FILE))
        lines = "\n".join(text(run, n) for n in numbers)
        bucket.blob(f"prompts/{run}/{file:05}.txt").upload_from_string(lines)


def _job(name: str, in_flight: int) -> list[str]:
    return [
        *("-m", f"beam_jobs.{name}"),
        f"--project={NAMES.project}",
        f"--responses_topic={P}/topics/predictions",
        f"--dead_letter_topic={P}/topics/dead-letters",
        f"--images_output_location=gs://{NAMES.bucket}/images",
        f"--max_in_flight={in_flight}",
    ]


@contextlib.contextmanager
def _ended(process: Process) -> Iterator[None]:
    """Kill the process if it is still running at the end."""
    try:
        yield
    finally:
        if process.running:
            process.kill()


def _refuse_failures(receiver: Receiver) -> None:
    """Raise if a prompt has failed, because a failure takes less time than an image."""
    if failures := receiver.failures():
        first = failures[0]
        raise RuntimeError(
            f"{len(failures)} prompts failed, the first with {first['reason']}: {first['detail']}"
        )


def _new() -> str:
    return uuid.uuid4().hex[:8]


def _middle(
    rows: Sequence[tuple[float, Mapping[str, int]]], prompts: int
) -> dict[str, float | None]:
    tenth = prompts // 10
    inside = [(at, n) for at, n in rows if tenth <= n["images"] <= prompts - tenth]
    # All prompts of a short run may be answered between two samples.
    if not tenth or len(inside) < 2:
        return {"middle_per_s": None, "middle_in_flight": None}
    (begin, before), (end, after) = inside[0], inside[-1]
    return {
        "middle_per_s": round((after["images"] - before["images"]) / (end - begin), 2),
        "middle_in_flight": round(fmean(n["in_flight"] for _, n in inside), 1),
    }


def _within(prompts: int) -> float:
    return 60.0 + prompts / 5
