"""Real jobs against the local cloud, which is broken on purpose while everything is counted.

FAULTS_SHARE is how much of each test's full size runs (1 for `make test-faults`), FAULTS_SEED makes
what the tests choose at random the same again (the stand-ins' own chance always begins with the
same seed), and FAULTS_TABLE names a folder for the figures of each row. Only with a table is the
seed another one each time: what is new is for those who look for it, not for a gate.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT, Cloud, Lane
from tests.faults.books import Books

_SHARE = float(os.environ.get("FAULTS_SHARE", "0.02"))
_ANY_SEED = random.randrange(10**6) if "FAULTS_TABLE" in os.environ else 1
# Handed on to the processes that run tests side by side.
_SEED = int(os.environ.setdefault("FAULTS_SEED", str(_ANY_SEED)))


def pytest_report_header() -> str:
    return f"faults: FAULTS_SEED={_SEED} FAULTS_SHARE={_SHARE:g}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Say with a failure what makes it come again."""
    report = yield
    if report.failed and item.path.is_relative_to(Path(__file__).parent):
        report.sections.append(("faults", f"FAULTS_SEED={_SEED} FAULTS_SHARE={_SHARE:g}"))
    return report


class Faults:
    """How much, at random, and what came of it."""

    def __init__(self, test: str) -> None:
        self.seed = _SEED
        self.chance = random.Random(f"{_SEED} {test}")
        self._test = test

    def many(self, full: int, least: int = 1) -> int:
        """Return how many of `full` there are in this run."""
        return max(least, round(full * _SHARE))

    def row(self, fault: str, done: str, **figures: Any) -> None:
        """Keep a row of the table of figures; print it, too."""
        row = {"fault": fault, "done": done, "seed": self.seed, "share": _SHARE, **figures}
        print(json.dumps(row, ensure_ascii=False))
        if folder := os.environ.get("FAULTS_TABLE"):
            path = Path(folder) / str(self.seed) / f"{self._test}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row))


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    return Faults(request.node.name)


class Job:
    """A job's process, and what it takes of the machine."""

    def __init__(self, program: str, options: list[str], log: Path) -> None:
        self.log = log
        self._endless = program == "stream"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"beam_jobs.{program}", *options],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        self._seen = psutil.Process(self.process.pid)
        self._peak_mb = 0.0

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a machine that goes away does."""
        self.process.kill()
        self.process.wait()

    def ended(self, within_s: float = 400.0) -> int:
        """Wait until it has ended by itself; its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {within_s:g} s; its log ends:\n{self.last_words()}")

    def finish(self) -> None:
        """Let it finish what it has, a stream by draining it, and see that it ends well."""
        if self._endless:
            self.process.terminate()
        assert self.ended() == 0, self.last_words()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def memory_mb(self) -> float:
        return float(self._seen.memory_info().rss) / 1e6

    def peak_mb(self) -> float:
        """The most memory that it has had so far, as far as was looked while it ran."""
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    self._peak_mb = int(line.split()[1]) * 1024 / 1e6
        return self._peak_mb

    def threads(self) -> int:
        return int(self._seen.num_threads())

    def files(self) -> int:
        """Open file descriptors, sockets among them."""
        return int(self._seen.num_fds())

    def sockets(self) -> int:
        return len(self._seen.net_connections())


@pytest.fixture
def start(lane: Lane, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start a stream or a backfill on the lane; whatever is left at the end is killed."""
    jobs: list[Job] = []

    def begin(program: str, **options: object) -> Job:
        given = lane.stream_options if program == "stream" else lane.options
        jobs.append(Job(program, given(**options), tmp_path / f"{program}-{len(jobs)}.log"))
        return jobs[-1]

    yield begin
    for job in jobs:
        if job.running:
            job.kill()


@pytest.fixture
def books(lane: Lane) -> Iterator[Books]:
    """Everything that comes out of the lane."""
    books = Books(lane)
    yield books
    books.close()


@pytest.fixture
def paid(cloud: Cloud) -> Callable[[], int]:
    """Return how many images were paid for since the start of the test."""
    before = cloud.models()["images"]
    return lambda: int(cloud.models()["images"]) - before


@pytest.fixture
def unanswered(cloud: Cloud) -> Callable[[], int]:
    """Return how many calls since the start of the test have ended without an answer."""
    before = cloud.models()["unanswered"]
    return lambda: int(cloud.models()["unanswered"]) - before
