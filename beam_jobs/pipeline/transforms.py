"""The way of a prompt as Beam sees it: the same composite transform for stream and backfill."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_jobs import metrics
from beam_jobs.config.options import JobConfig
from beam_jobs.engine.handler import ImagenHandler
from beam_jobs.images import recent_index
from beam_jobs.images.store import Location
from beam_jobs.outcomes import Failure, Outcome, encode
from beam_jobs.prompts.files import read_prompts
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import Canary, Parsed, PromptDefaults, parse

FAILURES = "failures"


class Outcomes(NamedTuple):
    """What `PromptsToOutcomes` gives: what was parsed, and how all of it ended."""

    parsed: PCollection[Any]
    ended: PCollection[Any]


class PromptsToOutcomes(beam.PTransform):
    """Messages, and failures of reading them, into one outcome each.

    What parsing rejects takes the same way as the prompts, untouched. On a branch of its own it
    would have to be flattened with the outcomes, and there FnApiRunner collects all of them before
    it goes on: nothing would be published before the last prompt is done.
    """

    def __init__(self, config: JobConfig) -> None:
        super().__init__()
        self._config = config

    def expand(self, messages: PCollection[Any]) -> Any:
        """Wire parse and inference."""
        parsed = messages | "Parse" >> beam.ParDo(Parse(self._config.defaults))
        ended = parsed | "Generate" >> RunInference(ImagenHandler(self._config))
        return Outcomes(parsed=parsed, ended=ended)


class PublishOutcomes(beam.PTransform):
    """Predictions to one topic, failures to the other; returns both writes' (empty) outputs."""

    def __init__(self, config: JobConfig) -> None:
        super().__init__()
        self._config = config

    def expand(self, outcomes: PCollection[Any]) -> Any:
        """Wire encoding and both topics."""
        encoded = outcomes | "Encode" >> beam.ParDo(Encode(self._config.location)).with_outputs(
            FAILURES, main="predictions"
        )
        return (
            encoded["predictions"]
            | "Predictions"
            >> beam.io.WriteToPubSub(self._config.responses_topic, with_attributes=True),
            encoded[FAILURES]
            | "Dead letters"
            >> beam.io.WriteToPubSub(self._config.dead_letter_topic, with_attributes=True),
        )


class Parse(beam.DoFn):
    """A message into a prompt, a canary, or the failure of what is neither."""

    def __init__(self, defaults: PromptDefaults) -> None:
        self._defaults = defaults

    def process(self, message: RawPrompt | Failure) -> Iterator[Parsed]:
        """Parse one message; a failure of reading passes through."""
        item = (
            message
            if isinstance(message, Failure)
            else parse(
                message.body, message.attributes, origin=message.origin, defaults=self._defaults
            )
        )
        if not isinstance(item, Canary):
            metrics.count_prompt()
        yield item


class Encode(beam.DoFn):
    """An outcome into the message that reports it, counted and noted on the way.

    Holds where to note it, never the writer: that is the process's own.
    """

    def __init__(self, location: Location) -> None:
        self._location = location

    def process(self, outcome: Outcome) -> Iterator[Any]:
        """Encode one outcome; a failure's message goes to the tag `failures`."""
        metrics.count_outcome(outcome)
        message = PubsubMessage(*encode(outcome))
        recent_index.note(outcome, self._location)
        yield TaggedOutput(FAILURES, message) if isinstance(outcome, Failure) else message


class ReadPromptFile(beam.DoFn):
    """A file's metadata into its messages, and a failure for each row that cannot be read."""

    def __init__(self, source: str) -> None:
        self._source = source

    def process(self, file: FileMetadata) -> Iterator[RawPrompt | Failure]:
        """Read one file."""
        yield from read_prompts(file.path, source=self._source)


def message_of(message: PubsubMessage) -> RawPrompt:
    """Return a Pub/Sub message as what the parser takes."""
    return RawPrompt(
        body=message.data or b"",
        attributes=dict(message.attributes or {}),
        origin=message.message_id or "",
    )
