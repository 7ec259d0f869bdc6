"""Bundles on workers that come, fail, and go: Beam's own, in threads of this process.

With processes that are killed they are in tests/faults/test_workers.py.
"""

import json
import threading
import time
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.worker.sdk_worker import SdkHarness

from localcloud.bundles.attempts import BundleError
from localcloud.bundles.runner import BundleRunner

pytestmark = pytest.mark.slow

ROWS = 400
_attempts: Counter[int] = Counter()
_workers: set[str] = set()
_result: list[int] = []


def work(row: int, failures: int, pause_s: float) -> int:
    """Fail the first attempts at one row, and note in which worker's thread pool each row was."""
    _attempts[row] += 1
    if row == 7 and _attempts[row] <= failures:
        raise ValueError("row 7 is a hard one")
    time.sleep(pause_s)
    Metrics.counter("imagen", "prompts").inc()
    return row


def keep(_: None, total: int) -> None:
    _result.append(total)


def add_worker(file: Path, name: str) -> None:
    def serve() -> None:
        while not file.exists():
            time.sleep(0.01)
        harness = SdkHarness(json.loads(file.read_text()), worker_id=name)
        _workers.add(name)
        harness.run()

    threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def run(tmp_path):
    _attempts.clear()
    _workers.clear()
    _result.clear()

    def build_and_run(*, failures=0, pause_s=0.0):
        options = PipelineOptions(
            [
                f"--worker_address_file={tmp_path / 'address'}",
                f"--metrics_file={tmp_path / 'metrics.json'}",
            ]
        )
        pipeline = beam.Pipeline(runner=BundleRunner(), options=options)
        rows = (
            pipeline
            | beam.Create(range(ROWS))
            | beam.Reshuffle()
            | "Work" >> beam.Map(work, failures, pause_s)
        )
        total = rows | beam.CombineGlobally(sum)
        pipeline | "Once" >> beam.Create([None]) | beam.Map(keep, AsSingleton(total))
        pipeline.run().wait_until_finish()
        return json.loads((tmp_path / "metrics.json").read_text())

    return build_and_run


def test_a_bundle_that_fails_is_retried_and_counts_once(run, tmp_path):
    add_worker(tmp_path / "address", "first")
    metrics = run(failures=3)
    assert _attempts[7] == 4
    assert _result == [sum(range(ROWS))]
    assert metrics["prompts"] == ROWS
    assert not (tmp_path / "address").exists(), "nobody is to look for a job that is over"


def test_a_bundle_that_fails_four_times_fails_the_job_and_names_the_workers(run, tmp_path):
    add_worker(tmp_path / "address", "only")
    with pytest.raises(BundleError, match="failed 4 times") as caught:
        run(failures=4)
    assert "these workers: only, only, only, only" in str(caught.value)
    assert "row 7 is a hard one" in str(caught.value)
    assert _attempts[7] == 4
    assert _result == []


def test_a_worker_that_joins_later_gets_bundles_too(run, tmp_path):
    address = tmp_path / "address"
    add_worker(address, "first")

    def join() -> None:
        while sum(_attempts.values()) < 20:
            time.sleep(0.01)
        add_worker(address, "second")

    threading.Thread(target=join, daemon=True).start()
    started = time.monotonic()
    run(pause_s=0.02)
    assert _workers == {"first", "second"}
    # One worker has four bundles at once, so it alone would need 2 s.
    assert time.monotonic() - started < 30
    assert _result == [sum(range(ROWS))]


def test_without_an_address_file_the_job_is_refused():
    pipeline = beam.Pipeline(runner=BundleRunner(), options=PipelineOptions([]))
    pipeline | beam.Create([1])
    with pytest.raises(ValueError, match="--worker_address_file: expected"):
        pipeline.run()
