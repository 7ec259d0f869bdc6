"""One run of ours or of a contender: started, watched, counted."""

import contextlib
import dataclasses
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from google import pubsub_v1
from google.cloud import storage

from bench.processes import Process, machine_s
from bench.prompts import text
from bench.receiver import Receiver
from bench.stand_ins import NAMES, Cloud, Samples
from localcloud.clients import raw_client

P = f"projects/{NAMES.project}"
_LOOK_EVERY_S = 0.02
_PUBLISH_AT_ONCE = 500
_PROMPTS_A_FILE = 1000
_STARTS_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True)
class Run:
    """Figures of one run.

    `seconds` is from the first model call to the last outcome: for ours the last prediction that
    was received, for a contender the last image that the model answered. CPU is of the process
    in that time, per prompt; `others_cpu_ms` that of the stand-ins; `busy` is the share of all the
    machine's cores that was in use. `cold_start_s` is from the start of the process to its first
    model call. Between the first tenth of the answers and the last, as in a run without an end,
    `middle_per_s` is their rate (of answers, for outcomes come a batch at a time), and
    `middle_in_flight` how many calls were in flight. A run is one in which every prompt got its
    image: with fewer there are no figures.
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

    @property
    def per_s(self) -> float:
        """Prompts a second."""
        return self.prompts / self.seconds

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "per_s": round(self.per_s, 2)}


class _Watch:
    """Notes CPU times when the first call is made, and makes a `Run` of it all at the end.

    Of a process that has worked before, they are noted `at_once`: then prompts may be worked on
    before all of them are published.
    """

    def __init__(
        self, cloud: Cloud, process: Process, samples: Samples, *, at_once: bool = False
    ) -> None:
        self._cloud, self._process, self._samples = cloud, process, samples
        if not at_once:
            self.wait_for_call()
        self._note()

    def wait_for_call(self) -> None:
        """Wait until the first call was made."""
        process, samples = self._process, self._samples
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while samples.first_call() is None:
            if not process.running or time.monotonic() > deadline:
                tail = process.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"no call was made; the end of {process.log}:\n{tail}")
            time.sleep(_LOOK_EVERY_S)
        self.first = samples.first_call() or 0.0

    def _note(self) -> None:
        self._cpu, self._others = self._process.cpu_s(), self._cloud.cpu_s()
        self._machine = machine_s()

    def run(self, contender: str, prompts: int, ended: Sequence[float]) -> Run:
        """Say what happened; `ended` has the times at which outcomes came, or only the last."""
        return Run(
            contender=contender,
            prompts=prompts,
            seconds=round(ended[-1] - self.first, 2),
            cpu_ms=round(1000 * (self._process.cpu_s() - self._cpu) / prompts, 2),
            others_cpu_ms=round(1000 * (self._cloud.cpu_s() - self._others) / prompts, 2),
            busy=self._busy(),
            peak_mb=round(self._process.peak_mb(), 1),
            cold_start_s=round(self.first - self._process.started, 2),
            **_middle(self._samples.rows, prompts),
        )

    def settled(self, found: Run) -> Run:
        """Add what was refused and paid again: known once the process has ended, not before."""
        counts = self._samples.last
        return dataclasses.replace(
            found,
            refused=counts["refused_for_quota"],
            paid_twice=max(0, counts["images"] - found.prompts),
        )

    def _busy(self) -> float:
        used, idle = (now - then for now, then in zip(machine_s(), self._machine, strict=True))
        # One prompt may be done before the machine has counted a tick.
        return round(used / max(used + idle, 0.01), 3)


def contender(cloud: Cloud, name: str, prompts: int, in_flight: int) -> Run:
    """Run one of `bench.contenders`."""
    folder = cloud.folder / "contender"
    folder.mkdir(exist_ok=True)
    arguments = ["-m", f"bench.contenders.{name}", "--prompts", str(prompts)]
    arguments += ["--in-flight", str(in_flight), "--folder", str(folder), "--run", _new()]
    with Samples(cloud) as samples:
        process = Process(arguments, cloud.environment, cloud.folder / f"{name}.log")
        with _ended(process):
            watch = _Watch(cloud, process, samples)
            found = _to_the_last_image(watch, process, samples, name, prompts)
            process.wait()
            found = watch.settled(found)
    written = sum(1 for _ in folder.iterdir())
    shutil.rmtree(folder)
    if written != prompts:
        raise RuntimeError(f"{name} wrote {written} of {prompts} images")
    return found


def _to_the_last_image(
    watch: _Watch, process: Process, samples: Samples, name: str, prompts: int
) -> Run:
    """Watch a contender until it has ended; say what it took until its last image.

    Which one is the last is known afterwards: one that is paid twice does not stand in for another.
    """
    found: Run | None = None
    images = 0
    running = True
    while running:
        running = process.running
        process.cpu_s(), process.peak_mb()  # it may have ended at the next look
        at, counts = samples.rows[-1]
        if found is None or counts["images"] > images:
            images = counts["images"]
            found = watch.run(name, prompts, [at])
        time.sleep(_LOOK_EVERY_S)
    assert found is not None
    return found


def backfill(cloud: Cloud, prompts: int, in_flight: int) -> Run:
    """Run the batch job over files of prompts."""
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
        process = Process(arguments, cloud.environment, cloud.folder / "backfill.log")
        with _ended(process):
            watch = _Watch(cloud, process, samples)
            receiver.wait(prompts, _within(prompts))
            _refuse_failures(receiver)
            found = watch.run("backfill", prompts, receiver.times(0))
            process.wait()
            found = watch.settled(found)
    report = json.loads((cloud.folder / "report.json").read_text())
    if report["prompts"] != prompts or report["predictions"] != prompts:
        raise RuntimeError(f"of {prompts} prompts the report says {report}")
    return found


def stream(cloud: Cloud, prompts: int, in_flight: int) -> Run:
    """Run the streaming job on a backlog of prompts, and drain it."""
    run = _new()
    with streaming(cloud, in_flight) as (process, receiver), Samples(cloud) as samples:
        before = len(receiver.arrived)
        watch = _Watch(cloud, process, samples, at_once=True)
        publish([text(run, n) for n in range(prompts)])
        watch.wait_for_call()
        receiver.wait(before + prompts, _within(prompts))
        _refuse_failures(receiver)
        found = watch.run("stream", prompts, receiver.times(before))
        process.drain()
        return watch.settled(found)


@contextlib.contextmanager
def streaming(cloud: Cloud, in_flight: int) -> Iterator[tuple[Process, Receiver]]:
    """Give a streaming job that has made its first prediction, and what receives from it."""
    receiver = Receiver()
    arguments = [
        *_job("stream", in_flight),
        f"--messages_subscription={P}/subscriptions/prompts-sub",
        "--runner=localcloud.runner.MicroBatchRunner",
    ]
    with contextlib.closing(receiver):
        process = Process(arguments, cloud.environment, cloud.folder / "stream.log")
        with _ended(process):
            publish([text(_new(), 0)])
            receiver.wait(1, _STARTS_WITHIN_S)
            yield process, receiver
            process.drain()


def cold_stream(cloud: Cloud, in_flight: int) -> float:
    """Seconds from the start of the streaming job to its first model call."""
    with Samples(cloud) as samples, streaming(cloud, in_flight) as (process, _):
        return round(_Watch(cloud, process, samples).first - process.started, 2)


def publish(prompts: list[str]) -> None:
    """Publish prompts, many with each request."""
    publisher = raw_client(pubsub_v1.PublisherClient)
    for start in range(0, len(prompts), _PUBLISH_AT_ONCE):
        part = prompts[start : start + _PUBLISH_AT_ONCE]
        messages = [pubsub_v1.PubsubMessage(data=prompt.encode()) for prompt in part]
        publisher.publish(topic=f"{P}/topics/prompts", messages=messages)


def put_files(run: str, prompts: int) -> None:
    """Store files of prompts below `prompts/<run>/`, of a size that is never forgotten."""
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    for file, first in enumerate(range(0, prompts, _PROMPTS_A_FILE)):
        numbers = range(first, min(prompts, first + _PROMPTS_A_FILE))
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
    """Leave no process behind, whatever happens."""
    try:
        yield
    finally:
        if process.running:
            process.kill()


def _refuse_failures(receiver: Receiver) -> None:
    """Raise where a prompt has failed: that takes less time than an image."""
    if failures := receiver.failures():
        first = failures[0]
        raise RuntimeError(
            f"{len(failures)} prompts failed, the first by {first['reason']}: {first['detail']}"
        )


def _new() -> str:
    return uuid.uuid4().hex[:8]


def _middle(
    rows: Sequence[tuple[float, Mapping[str, int]]], prompts: int
) -> dict[str, float | None]:
    tenth = prompts // 10
    inside = [(at, n) for at, n in rows if tenth <= n["images"] <= prompts - tenth]
    # All of a short run may be answered between two looks.
    if not tenth or len(inside) < 2:
        return {"middle_per_s": None, "middle_in_flight": None}
    (begin, before), (end, after) = inside[0], inside[-1]
    return {
        "middle_per_s": round((after["images"] - before["images"]) / (end - begin), 2),
        "middle_in_flight": round(fmean(n["in_flight"] for _, n in inside), 1),
    }


def _within(prompts: int) -> float:
    return 60.0 + prompts / 5
