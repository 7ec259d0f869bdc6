"""Beam's side of the work: a `ModelHandler` whose model is one event loop per process.

All threads of a worker, and all pipelines of a process, share one `Engine`: one window of calls
in flight, one connection pool, one view of which prompts are under way.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import aiohttp
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.catalog import Family, family_of
from beam_jobs.config.options import JobConfig
from beam_jobs.engine.generate import Generator
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.process_memory import bound_arenas, freeze_what_is_there
from beam_jobs.images.store import ImageStore
from beam_jobs.metrics import NAMESPACE
from beam_jobs.models.answer_memory import AnswerSlots, SlottedResponse
from beam_jobs.models.base import ImageModel
from beam_jobs.outcomes import Outcome
from beam_jobs.prompts.parse import Parsed

# aiohttp holds up to twice this of an answer whose slot has not come.
READ_BUFFER_BYTES = 1 << 16
# How often a batch fills the window of calls.
BATCH_WINDOWS = 4

T = TypeVar("T")


class Engine:
    """An event loop in a thread of its own, with everything that lives on it."""

    def __init__(self, config: JobConfig) -> None:
        # On a Dataflow worker this is the first of our code that runs.
        bound_arenas()
        self._config = config
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="imagen-engine", daemon=True).start()
        self._models: dict[str, ImageModel] = {}
        self._limiter = AdaptiveLimiter(config.max_in_flight, config.requests_per_minute)
        self._await(self._start())

    @property
    def in_flight(self) -> int:
        """Model calls under way at this moment."""
        return self._limiter.in_flight

    def run(self, items: Sequence[Parsed]) -> list[Outcome]:
        """Work on all `items` at once, from any thread; the outcomes are in their order."""
        return self._await(self._all(items))

    async def _all(self, items: Sequence[Parsed]) -> list[Outcome]:
        return await asyncio.gather(*map(self._generator.outcome, items))

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            # The limiter bounds the connections.
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=READ_BUFFER_BYTES,
            response_class=SlottedResponse,
        )
        self._generator = Generator(
            model_of=self._model_of,
            store=ImageStore(self._session, self._config.location),
            limiter=self._limiter,
            answer_slots=AnswerSlots(self._config.max_in_flight),
            max_in_flight=self._config.max_in_flight,
            max_retry_s=self._config.max_retry_s,
            max_images=self._config.max_images,
            source=self._config.defaults.source,
        )

    def _model_of(self, name: str) -> ImageModel:
        if name not in self._models:
            self._models[name] = _model(name, self._config, self._session)
            # Its client is the last of what is imported.
            freeze_what_is_there()
        return self._models[name]

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


_engines: dict[JobConfig, Engine] = {}
_engines_lock = threading.Lock()


def engine_for(config: JobConfig) -> Engine:
    """Return this process's engine for `config`."""
    with _engines_lock:
        if config not in _engines:
            _engines[config] = Engine(config)
        return _engines[config]


class ImagenHandler(ModelHandler[Parsed, Outcome, Engine]):
    """Hands batches of prompts to the process's engine. One outcome per prompt, no exceptions."""

    def __init__(self, config: JobConfig) -> None:
        # A batch ends with its slowest prompt, and others beside it, in other threads, keep the
        # window of calls full meanwhile: it takes that many for calls that last twenty times as
        # long as most. With longer ones outcomes are published later.
        batch = BATCH_WINDOWS * config.max_in_flight
        super().__init__(min_batch_size=batch, max_batch_size=batch)
        self._config = config

    def load_model(self) -> Engine:
        """Return the engine that this process has, or make it."""
        return engine_for(self._config)

    def run_inference(
        self,
        batch: Sequence[Parsed],
        model: Engine,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Outcome]:
        """Return the outcomes of `batch`, in its order."""
        Metrics.distribution(NAMESPACE, "in_flight").update(model.in_flight)
        return model.run(batch)

    def get_num_bytes(self, batch: Sequence[Parsed]) -> int:
        """Return the size of what came in, without pickling it for the purpose."""
        return sum(len(item.body) for item in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of RunInference's own metrics."""
        return NAMESPACE


def _model(name: str, config: JobConfig, session: aiohttp.ClientSession) -> ImageModel:
    # Each adapter's client library takes seconds to import; a job mostly uses one of them.
    if family_of(name) is Family.GEMINI:
        from beam_jobs.models.gemini import GeminiModel

        return GeminiModel(
            session,
            model=name,
            project=config.project,
            location=config.gemini_location,
            timeout_s=config.call_timeout_s,
            flex=config.flex,
        )
    from beam_jobs.models.predict import PredictModel, base_url_from_environment

    return PredictModel(
        resource=resource_of(name, config),
        timeout_s=config.call_timeout_s,
        base_url=base_url_from_environment(),
    )


def resource_of(name: str, config: JobConfig) -> str:
    """Return what serves a model by `:predict`: the job's endpoint its own, Google the others.

    Else one model would draw under another's name, and be found under it ever after.
    """
    if config.model_endpoint and name == config.defaults.model:
        return config.model_endpoint
    place = f"projects/{config.project}/locations/{config.predict_location}"
    return f"{place}/publishers/google/models/{name}"
