"""The Beam transforms of the import: find the output, store its images, record, and report.

Images go through no shuffle: what leaves a worker of them are receipts of a kilobyte.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput
from google.cloud import storage
from typing_extensions import override

from beam_jobs.outcomes import METRICS_NAMESPACE
from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.import_config import ImportConfig
from beam_jobs.prefetch.importer import OutputRange, importer_for
from beam_jobs.prefetch.line_ranges import ranges_of
from beam_jobs.prefetch.parts import Prepared
from beam_jobs.prefetch.row_receipt import RowReceipt
from beam_jobs.prefetch.tally import Tally, added, rendered

TALLIES = "tallies"
# Prompts whose records are stored at once.
PROMPTS_AT_ONCE = 128
# `prediction-model-<time>/predictions*.jsonl` below the output's prefix, as the service names them.
_OUTPUT = re.compile(r"(.*/)?predictions[^/]*\.jsonl")


class Rows(NamedTuple):
    """The outputs of `StoreImages`.

    Attributes:
        receipts: of rows whose image is known, by the prompt's digest.
        tallies: of the other rows.
    """

    receipts: PCollection[tuple[str, RowReceipt]]
    tallies: PCollection[Tally]


class StoreImages(beam.PTransform):
    """Finds the output of a run's batch jobs and stores its images; returns `Rows`.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: ImportConfig) -> None:
        super().__init__()
        self._config = config

    @override
    def expand(self, pipeline: Any) -> Any:
        rows = (
            pipeline
            | "Folder" >> beam.Create([self._config.folder])
            | "Find output" >> beam.FlatMap(output_ranges)
            | "Spread ranges" >> beam.Reshuffle()
            | "Store" >> beam.ParDo(StoreRange(self._config)).with_outputs(TALLIES, main="receipts")
        )
        return Rows(rows["receipts"], rows[TALLIES])


class RecordPrompts(beam.PTransform):
    """Stores the record of each prompt that has all its images; returns tallies of its rows.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: ImportConfig) -> None:
        super().__init__()
        self._config = config

    @override
    def expand(self, receipts: PCollection[tuple[str, RowReceipt]]) -> PCollection[Tally]:
        return (
            receipts
            | "By prompt" >> beam.GroupByKey()
            | "Batch"
            >> beam.BatchElements(min_batch_size=PROMPTS_AT_ONCE, max_batch_size=PROMPTS_AT_ONCE)
            | "Record" >> beam.Map(record_prompts, self._config)
        )


class WriteImportReport(beam.PTransform):
    """Writes the import's report once everything is stored.

    Args:
        folder: of the run's prefetch.
    """

    def __init__(self, folder: PrefetchFolder) -> None:
        super().__init__()
        self._folder = folder

    @override
    def expand(self, tallies: PCollection[Tally]) -> PCollection[str]:
        total = tallies | "Sum" >> beam.CombineGlobally(added)
        return (
            tallies.pipeline
            | "Report" >> beam.Create([self._folder])
            | "Write" >> beam.Map(write_report, AsSingleton(total))
        )


class StoreRange(beam.DoFn):
    """Stores the images of a range. The receipts are keyed by the digest of the prompt.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: ImportConfig) -> None:
        self._config = config

    @override
    def process(self, part: OutputRange) -> Iterator[Any]:
        imported = importer_for(self._config).import_range(part)
        _count(imported.tally.counts)
        yield TaggedOutput(TALLIES, imported.tally)
        for receipt in imported.receipts:
            yield receipt.row.digest, receipt


def output_ranges(folder: PrefetchFolder) -> Iterator[OutputRange]:
    """Yield the ranges of all output of a run's parts.

    Raises:
        PartsError: the run's `parts.json` is malformed.
        google.api_core.exceptions.GoogleAPICallError: the folder cannot be read.
    """
    bucket = storage.Client(project=None).bucket(folder.bucket)
    for part in _prepared(folder).parts:
        prefix = part.folder.output.removeprefix(f"gs://{folder.bucket}/")
        for blob in bucket.list_blobs(prefix=prefix, fields="items(name,size),nextPageToken"):
            if _OUTPUT.fullmatch(blob.name):
                url = f"gs://{folder.bucket}/{blob.name}"
                for file in ranges_of(url, int(blob.size or 0)):
                    yield OutputRange(file, part.folder.manifest)


def record_prompts(
    prompts: Sequence[tuple[str, Iterable[RowReceipt]]], config: ImportConfig
) -> Tally:
    """Store the records of some prompts; return the tally of their rows.

    Args:
        prompts: the digest of each, with the receipts of all its rows.
        config: the job's checked options.
    """
    tally = importer_for(config).record([list(receipts) for _, receipts in prompts])
    _count(tally.counts)
    return tally


def write_report(folder: PrefetchFolder, total: Tally) -> str:
    """Write the report, and return its path."""
    prepared = _prepared(folder)
    report = rendered(total, run=prepared.run, parts=len(prepared.parts), ordered=prepared.images)
    with FileSystems.create(folder.report, mime_type="application/json") as file:
        file.write(json.dumps(report, indent=2).encode("ascii"))
    return folder.report


def _prepared(folder: PrefetchFolder) -> Prepared:
    name = folder.parts.removeprefix(f"gs://{folder.bucket}/")
    content = storage.Client(project=None).bucket(folder.bucket).blob(name).download_as_bytes()
    return Prepared.parse(content)


def _count(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if count and name.startswith("rows."):
            Metrics.counter(METRICS_NAMESPACE, name.replace(".", "_")).inc(count)
