"""The bundles of a stage: each is given to a worker, and to another one if that fails."""

import itertools
import logging
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from apache_beam.metrics import monitoring_infos
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiMetrics

from localcloud.bundles.workers import Worker, WorkerLostError, Workers
from localcloud.microbatch.metrics import RunningMetrics

_log = logging.getLogger(__name__)

ATTEMPTS = 4
"""https://cloud.google.com/dataflow/docs/guides/common-errors: "When running in batch mode, bundles
including a failing item are retried four times. The pipeline fails completely when a single bundle
fails four times."""
# What a worker that is killed had finished is done again, from the store, and published twice. So
# its bundles are small: a key of a backfill has up to 64 rows.
_KEYS = 8
# A stage has at least this many bundles, if it has so many elements, so that a worker that joins
# later gets some.
_AT_LEAST = 16
# Of all workers together.
_AT_ONCE = 64
_ids = itertools.count(1)


class BundleError(Exception):
    """A bundle has failed as often as it may."""


class _Done(NamedTuple):
    response: Any
    outputs: list[Any]


class BundlesOfStage(BundleManager):
    """Processes a stage's input in bundles.

    What a bundle puts out, and counts, is used only once the bundle has succeeded, and so exactly
    once. What it does outside, such as publishing, can happen again.

    Args:
        bundle_context_manager: the stage, as FnApiRunner describes it.
        workers: who processes the bundles.
        metrics: is given the metrics of each bundle that has succeeded.
    """

    def __init__(
        self, bundle_context_manager: Any, workers: Workers, metrics: RunningMetrics
    ) -> None:
        super().__init__(bundle_context_manager)
        self._workers = workers
        self._metrics = metrics

    def process_bundle(
        self,
        inputs: Mapping[str, Any],
        expected_outputs: Mapping[str, Any],
        fired_timers: Mapping[Any, Any],
        expected_output_timers: Mapping[Any, Any],
        dry_run: bool = False,
    ) -> tuple[Any, list[Any]]:
        """Process a stage's input; return the bundles' answers as one.

        Raises:
            BundleError: a bundle has failed four times.
            NotImplementedError: the stage has state or timers.
        """
        if self.bundle_context_manager.stage.is_stateful() or expected_output_timers:
            raise NotImplementedError("this runner runs no pipelines with state or timers")
        merged = beam_fn_api_pb2.ProcessBundleResponse()
        infos: list[Any] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="bundle") as pool:
            bundles = [
                pool.submit(self._until_done, bundle, expected_outputs) for bundle in _split(inputs)
            ]
            try:
                for bundle in bundles:
                    response, outputs = bundle.result()
                    for output in outputs:
                        self.bundle_context_manager.get_buffer(
                            expected_outputs[output.transform_id], output.transform_id
                        ).append(output.data)
                    infos = monitoring_infos.consolidate([*infos, *response.monitoring_infos])
                    merged.residual_roots.extend(response.residual_roots)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        merged.monitoring_infos.extend(infos)
        return beam_fn_api_pb2.InstructionResponse(process_bundle=merged), []

    def _until_done(self, inputs: Mapping[str, Any], expected_outputs: Mapping[str, Any]) -> _Done:
        tried: list[str] = []
        while True:
            with self._workers.place() as worker:
                tried.append(worker.name)
                try:
                    done = self._attempt(worker, inputs, expected_outputs)
                    break
                except Exception as caught:
                    error = (
                        WorkerLostError(f"{worker.name} lost contact with the service")
                        if worker.lost
                        else caught
                    )
                    if len(tried) == ATTEMPTS:
                        raise BundleError(
                            f"The job failed because a work item has failed {ATTEMPTS} times. "
                            f"Look in previous log entries for the cause of each one of the "
                            f"{ATTEMPTS} failures. The work item was attempted on these workers: "
                            f"{', '.join(tried)}. Root cause: {error}"
                        ) from caught
                    _log.warning("a bundle failed on %s and is retried: %s", worker.name, error)
        self._metrics.add(FnApiMetrics({"": done.response.monitoring_infos}))
        self._metrics.report(0)
        return done

    def _attempt(
        self, worker: Worker, inputs: Mapping[str, Any], expected_outputs: Mapping[str, Any]
    ) -> _Done:
        bundle_id = f"bundle-{next(_ids)}"
        answer = worker.control.push(
            beam_fn_api_pb2.InstructionRequest(
                instruction_id=bundle_id,
                process_bundle=beam_fn_api_pb2.ProcessBundleRequest(
                    process_bundle_descriptor_id=(
                        self.bundle_context_manager.process_bundle_descriptor.id
                    )
                ),
            )
        )
        if worker.lost:
            # Whether the loss has reached this answer is a matter of luck.
            raise WorkerLostError
        for transform_id, elements in inputs.items():
            stream = worker.data.output_stream(bundle_id, transform_id)
            for encoded in elements:
                stream.write(encoded)
            stream.close()
        outputs = [
            output
            for output in worker.data.input_elements(
                bundle_id,
                list(expected_outputs),
                abort_callback=lambda: (
                    worker.lost or (answer.is_done() and bool(answer.get().error))
                ),
            )
            if isinstance(output, beam_fn_api_pb2.Elements.Data)
        ]
        response = answer.get()
        if response.error:
            raise RuntimeError(response.error)
        if response.process_bundle.requires_finalization:
            worker.control.push(
                beam_fn_api_pb2.InstructionRequest(
                    finalize_bundle=beam_fn_api_pb2.FinalizeBundleRequest(instruction_id=bundle_id)
                )
            ).get()
        return _Done(response.process_bundle, outputs)


def _split(inputs: Mapping[str, Any]) -> list[dict[str, list[bytes]]]:
    """Return the parts of a stage's input; one part, if all are empty."""
    keys = max(
        (len(each._table) for each in inputs.values() if isinstance(each, GroupingBuffer)),
        default=0,
    )
    count = max(_AT_LEAST, math.ceil(keys / _KEYS))
    parts: list[dict[str, list[bytes]]] = [{} for _ in range(count)]
    for name, buffer in inputs.items():
        for part, elements in zip(parts, buffer.partition(count), strict=True):
            part[name] = elements
    filled = [part for part in parts if any(any(elements) for elements in part.values())]
    return filled or parts[:1]
