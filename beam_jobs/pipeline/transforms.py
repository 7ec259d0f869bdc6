"""The Beam transforms that the stream and the backfill share: parse, generate, publish."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue
from typing_extensions import override

from beam_jobs import metrics
from beam_jobs.config.job_config import JobConfig
from beam_jobs.custom.preprocess import AT_ONCE, Preprocess, preprocess_of
from beam_jobs.engine.model_handler import ImagenModelHandler
from beam_jobs.images import recent_index
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Failure, Outcome, encode
from beam_jobs.pipeline.blocks import Packer, Row
from beam_jobs.pipeline.canary_keys import keys_at
from beam_jobs.pipeline.pubsub_writer import WriteMessages
from beam_jobs.prompts.beam_files import files_as_planned, read_planned, read_prompts
from beam_jobs.prompts.canary import Canary, refuse_canary
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.limits import FileLimits
from beam_jobs.prompts.listing import ListedFile
from beam_jobs.prompts.parse import Parsed, Prompt, parse
from beam_jobs.prompts.template_folder import templates_in

FAILURES = "failures"
# Prompts of a bundle that may be with a preprocess function, or wait for it.
AHEAD = 2 * AT_ONCE


class Processed(NamedTuple):
    """The two outputs of `PromptsToOutcomes`.

    Args:
        parsed: one item per message: a prompt, a canary or a failure. If the job has a preprocess
            function, one per prompt that it made.
        outcomes: one outcome per item.
    """

    parsed: PCollection[Any]
    outcomes: PCollection[Any]


class PromptsToOutcomes(beam.PTransform):
    """Turns messages, and failures of reading them, into one outcome each; returns `Processed`.

    A preprocess function can make several prompts of a message, which have an outcome each.

    Failures of parsing pass through the same steps as prompts, unchanged. On a branch of their own
    they would have to be flattened with the outcomes, where FnApiRunner collects everything before
    it continues: it would publish nothing before the last prompt is done.
    """

    def __init__(self, config: JobConfig) -> None:
        super().__init__()
        self._config = config

    @override
    def expand(self, messages: PCollection[Any]) -> Any:
        config = self._config
        parse = Parse(config.defaults, config.canary_keys, config.images_location.bucket)
        # In one step, whose name stays: a running stream can be updated to use a function.
        parsed = messages | "Parse" >> beam.ParDo(
            ParseAndPreprocess(parse, config) if config.preprocess else parse
        )
        outcomes = parsed | "Generate" >> RunInference(ImagenModelHandler(self._config))
        return Processed(parsed=parsed, outcomes=outcomes)


class PublishOutcomes(beam.PTransform):
    """Publishes predictions to one topic and failures to another.

    Returns the outputs of both writes, which are empty, for other steps to wait for.
    """

    def __init__(self, config: JobConfig) -> None:
        super().__init__()
        self._config = config

    @override
    def expand(self, outcomes: PCollection[Any]) -> Any:
        encoded = outcomes | "Encode" >> beam.ParDo(
            Encode(self._config.images_location, self._config.workers)
        ).with_outputs(FAILURES, main="predictions")
        return (
            encoded["predictions"] | "Predictions" >> WriteMessages(self._config.responses_topic),
            encoded[FAILURES] | "Dead letters" >> WriteMessages(self._config.dead_letter_topic),
        )


class Parse(beam.DoFn):
    """Parses a message into a prompt, a canary or a failure. Failures of reading pass through.

    The public keys that canaries are checked with belong to the process and are not part of this
    object, which is pickled.

    Args:
        defaults: what the job's options set for its prompts.
        canary_keys: the `gs://` path of the public keys; None refuses every canary.
        bucket: of the prompt templates.
    """

    def __init__(self, defaults: PromptDefaults, canary_keys: str | None, bucket: str) -> None:
        self._defaults = defaults
        self._canary_keys = canary_keys
        self._bucket = bucket

    @override
    def process(self, message: RawPrompt | Failure) -> Iterator[Parsed]:
        yield counted(self.parsed(message))

    def parsed(self, message: RawPrompt | Failure) -> Parsed:
        """Return what a message is."""
        if isinstance(message, Failure):
            return message
        return parse(
            message.body,
            message.attributes,
            origin=message.origin,
            defaults=self._defaults,
            check_canary=keys_at(self._canary_keys).check if self._canary_keys else refuse_canary,
            find_template=templates_in(self._bucket),
        )


class ParseAndPreprocess(beam.DoFn):
    """Parses messages, and lets the job's preprocess function change the prompts.

    Several prompts of a bundle are with the function at a time. Their results leave in the order
    of the messages, at the latest when the bundle ends.

    Args:
        parse: parses them.
        config: the job's checked options, which name the function.
    """

    def __init__(self, parse: Parse, config: JobConfig) -> None:
        self._parse = parse
        self._config = config

    @override
    def start_bundle(self) -> None:
        self._begun: deque[tuple[Future[list[Prompt | Failure]], Any, Any]] = deque()

    @override
    def process(
        self,
        message: RawPrompt | Failure,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Parsed | WindowedValue]:
        item = self._parse.parsed(message)
        if not isinstance(item, Prompt):
            yield counted(item)
            return
        self._begun.append((self._preprocess.start(item), timestamp, window))
        while self._begun and (len(self._begun) > AHEAD or self._begun[0][0].done()):
            yield from self._next()

    @override
    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._begun:
            yield from self._next()

    def _next(self) -> Iterator[WindowedValue]:
        future, timestamp, window = self._begun.popleft()
        for prompt in future.result():
            yield WindowedValue(counted(prompt), timestamp, [window])

    @property
    def _preprocess(self) -> Preprocess:
        config = self._config
        assert config.preprocess is not None
        return preprocess_of(
            config.preprocess, config.defaults, config.images_location, config.max_retry_s
        )


def counted(item: Parsed) -> Parsed:
    """Count an item, unless it is about a canary, and return it."""
    if not isinstance(item, Canary) and not (isinstance(item, Failure) and item.canary):
        metrics.count_prompt()
    return item


class Encode(beam.DoFn):
    """Turns an outcome into its message, counts it and adds it to the index of recent outcomes.

    A failure's message goes to the output tag `failures`. The index's writer belongs to the process
    and is not part of this object, which is pickled.
    """

    def __init__(self, location: Location, workers: int) -> None:
        self._location = location
        self._workers = workers

    @override
    def process(self, outcome: Outcome) -> Iterator[Any]:
        metrics.count_outcome(outcome)
        message = PubsubMessage(*encode(outcome))
        recent_index.record_outcome(outcome, self._location, self._workers)
        yield TaggedOutput(FAILURES, message) if isinstance(outcome, Failure) else message


class PlannedFiles(beam.PTransform):
    """Yields the files of a backfill's plan, and a failure for each file that is not as planned.

    Args:
        plan: gs:// path of the plan.
        prompts: gs:// path or glob that was planned.
        source: the source that failures name.
    """

    def __init__(self, plan: str, prompts: str, source: str) -> None:
        super().__init__()
        self._plan = plan
        self._prompts = prompts
        self._source = source

    @override
    def expand(self, pipeline: Any) -> PCollection[Any]:
        return (
            pipeline
            | beam.Create([self._plan])
            | beam.FlatMap(files_as_planned, prompts=self._prompts, source=self._source)
        )


class ReadPromptFile(beam.DoFn):
    """Turns a file into blocks of its rows, with a failure for each unreadable row.

    Failures that stand for a file pass through, in a block of their own.

    Args:
        defaults: what the job's options set for its prompts.
        prompts: path or glob of the files, which says in which bucket planned files are.
        limits: how much of each file is read.
    """

    def __init__(self, defaults: PromptDefaults, prompts: str, limits: FileLimits) -> None:
        self._how: dict[str, Any] = {
            "source": defaults.source,
            "limits": limits,
            "templated": defaults.template is not None,
        }
        self._prompts = prompts

    @override
    def start_bundle(self) -> None:
        self._packer = Packer()

    @override
    def process(self, file: FileMetadata | ListedFile | Failure) -> Iterator[bytes]:
        yield from self._packer.blocks(self._rows(file))

    def _rows(self, file: FileMetadata | ListedFile | Failure) -> Iterator[Row]:
        match file:
            case Failure():
                yield file
            case ListedFile():
                bucket = PromptGlob.parse(self._prompts).bucket
                yield from read_planned(file, bucket, **self._how)
            case _:
                yield from read_prompts(file.path, **self._how)


def raw_prompt_of(message: PubsubMessage) -> RawPrompt:
    """Convert a Pub/Sub message into the parser's input."""
    return RawPrompt(
        body=message.data or b"",
        attributes=dict(message.attributes or {}),
        origin=message.message_id or "",
    )
