"""Connects the engine to Beam: a `ModelHandler` whose "model" is one event loop per process.

All threads of a worker, and all pipelines of a process, share one `Engine`: one window of calls in
flight, one connection pool and one record of the prompts in progress.
"""

import asyncio
import atexit
import contextlib
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler
from gcloud.aio.storage import Storage
from typing_extensions import override

from beam_jobs.config.budgets import Budget
from beam_jobs.config.job_config import JobConfig
from beam_jobs.custom.postprocess import Postprocess
from beam_jobs.engine.event_loop import EventLoopThread
from beam_jobs.engine.finished import MOST, Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates, HoldPolicy
from beam_jobs.engine.hold_report import HoldReport
from beam_jobs.engine.lease import Lease
from beam_jobs.engine.ledger import Ledger
from beam_jobs.engine.process_memory import (
    bound_arenas,
    bound_tls_buffers,
    freeze_imported_objects,
)
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.engine.routes import RoutedModel
from beam_jobs.engine.served_models import ServedModels, job_quota
from beam_jobs.engine.signed_urls import UrlSigner
from beam_jobs.engine.storage_lane import lanes_of
from beam_jobs.fleet.fleet import Fleet
from beam_jobs.fleet.objects import FleetObjects
from beam_jobs.images.store import ImageStore
from beam_jobs.images.thumbnails import Thumbnails
from beam_jobs.metrics import count_throttling, count_thumbnails
from beam_jobs.models.answer_memory import AnswerMemory, SlottedResponse
from beam_jobs.models.base import ImageModel
from beam_jobs.outcomes import METRICS_NAMESPACE, Outcome
from beam_jobs.prompts.defaults import STREAM
from beam_jobs.prompts.parse import Parsed

# aiohttp buffers up to twice this many bytes of an answer that is being read.
READ_BUFFER_BYTES = 1 << 16
# A batch holds this many times the maximum of calls in flight.
BATCH_WINDOWS = 4
# How long the end of a process may wait until what is left of its budgets is given back.
GIVE_BACK_TIMEOUT_S = 5.0


class Engine:
    """An event loop in its own thread, with the limiter, the connections and the generator on it.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: JobConfig) -> None:
        # On a Dataflow worker, this is the first code of the package that runs.
        bound_arenas()
        bound_tls_buffers()
        self._config = config
        self._loop = EventLoopThread("imagen-engine")
        self._models: dict[str, ImageModel | RoutedModel] = {}
        self._thumbnails = Thumbnails(config.images_location) if config.thumbnails else None
        self._postprocess = Postprocess(config.postprocess) if config.postprocess else None
        self._loop.run(self._start())

    @property
    def in_flight(self) -> int:
        """How many model calls are in flight now."""
        return self._serving.in_flight

    @property
    def thumbnails(self) -> dict[str, int]:
        """What the maker of thumbnails has counted since the last time."""
        return self._thumbnails.counted() if self._thumbnails else {}

    def run(self, items: Sequence[Parsed]) -> list[Outcome]:
        """Work on all `items` at once, and return their outcomes in order. Call from any thread."""
        return self._loop.run(self._all(items))

    def give_back(self) -> None:
        """Leave shares of quotas and budgets to others, as far as that takes a moment only."""
        giving = self._loop.start(self._give_back())
        with contextlib.suppress(TimeoutError):
            giving.result(GIVE_BACK_TIMEOUT_S)

    async def _give_back(self) -> None:
        await asyncio.gather(self._fleet.leave(), self._purse.give_back())

    async def _all(self, items: Sequence[Parsed]) -> list[Outcome]:
        return await asyncio.gather(*map(self._generator.outcome, items))

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            # No limit here: the limiter limits the calls, and lanes what storage gets. A request
            # that waited for a connection would use up its timeout.
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=READ_BUFFER_BYTES,
            response_class=SlottedResponse,
        )
        self._fleet = self._new_fleet()
        if self._config.fleet:
            self._keeping_shares = asyncio.create_task(self._fleet.run())
        self._serving = ServedModels(self._config, self._session, self._fleet)
        streaming = self._config.defaults.source == STREAM
        self._gates = Gates(
            self._config.fallback_models,
            HoldPolicy(
                max_hold_s=self._config.max_hold_s,
                default_model=self._config.defaults.model,
                from_first_refusal=not streaming,
            ),
        )
        self._purse = Purse(self._config.budgets, self._lease_of)
        report = HoldReport(
            self._session,
            self._config.images_location.bucket,
            self._config.defaults.source,
            lambda: [gate.hold for gate in self._gates.closed() if gate.hold and gate.asked_for],
        )
        # Jobs share an object for each model, and it is the stream whose health it decides.
        self._reporting = asyncio.create_task(report.run()) if streaming else None
        self._generator = ImageGenerator(
            model_of=self._model_of,
            store=ImageStore(
                self._session,
                self._config.images_location,
                self._thumbnails,
                lanes_of(self._config.max_in_flight, lambda: self.in_flight),
            ),
            limiter=self._serving.limiter,
            answer_memory=AnswerMemory(call_timeout_s=self._config.serving.shortest_timeout_s),
            max_in_flight=self._config.max_in_flight,
            max_retry_s=self._config.max_retry_s,
            purse=self._purse,
            finished=Finished(0 if streaming else MOST),
            tier=self._config.serving.tier,
            source=self._config.defaults.source,
            run=self._config.run,
            gates=self._gates,
            references=References(self._session),
            metadata=self._config.image_metadata,
            signer=self._signer(),
            postprocess=self._postprocess,
        )

    def _new_fleet(self) -> Fleet:
        config, worker = self._config, uuid.uuid4().hex
        bucket, folder = config.images_location.bucket, config.fleet or ""
        rate = config.requests_per_minute
        return Fleet(
            FleetObjects(Storage(session=self._session), bucket, folder, worker),
            worker,
            rates={} if rate is None else {job_quota(rate): rate / 60},
            workers=config.workers,
        )

    def _signer(self) -> UrlSigner | None:
        hours, account = self._config.signed_url_hours, self._config.service_account
        return UrlSigner(self._session, hours=hours, account=account) if hours else None

    def _lease_of(self, budget: Budget, ledger: str) -> Lease:
        bucket = self._config.images_location.bucket
        return Lease(
            Ledger(Storage(session=self._session), bucket, ledger),
            budget,
            workers=self._config.workers,
            max_in_flight=self._config.max_in_flight,
            max_retry_s=self._config.max_retry_s,
        )

    def _model_of(self, name: str) -> ImageModel | RoutedModel:
        if name not in self._models:
            self._models[name] = self._serving.model(name)
            # The model's client library is the last import of the process.
            freeze_imported_objects()
        return self._models[name]


_engines: dict[JobConfig, Engine] = {}
_engines_lock = threading.Lock()


def engine_for(config: JobConfig) -> Engine:
    """Return this process's engine for `config`, and start it at the first call."""
    with _engines_lock:
        if config not in _engines:
            _engines[config] = Engine(config)
            atexit.register(_engines[config].give_back)
        return _engines[config]


class ImagenModelHandler(ModelHandler[Parsed, Outcome, Engine]):
    """Passes batches of prompts to the process's engine.

    Returns one outcome per prompt, in their order, and raises no exceptions. A batch's size in
    bytes is that of its message bodies. The metrics are in the namespace `imagen`.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: JobConfig) -> None:
        # A batch takes as long as its slowest prompt. Meanwhile, batches in other threads keep the
        # window of calls full; this size is enough for a call that takes twenty times as long as
        # most. In larger batches, outcomes would be published later.
        batch = BATCH_WINDOWS * config.max_in_flight
        super().__init__(min_batch_size=batch, max_batch_size=batch)
        self._config = config

    @override
    def load_model(self) -> Engine:
        return engine_for(self._config)

    @override
    def run_inference(
        self,
        batch: Sequence[Parsed],
        model: Engine,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Outcome]:
        Metrics.distribution(METRICS_NAMESPACE, "in_flight").update(model.in_flight)
        outcomes = model.run(batch)
        count_throttling(outcomes)
        count_thumbnails(model.thumbnails)
        return outcomes

    @override
    def get_num_bytes(self, batch: Sequence[Parsed]) -> int:
        # Beam would pickle the batch to measure it.
        return sum(len(item.body) for item in batch)

    @override
    def get_metrics_namespace(self) -> str:
        return METRICS_NAMESPACE
