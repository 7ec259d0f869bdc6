"""A stream that runs can be updated in place as long as its transforms keep their names.

Dataflow matches the state of the old job to the new one by these names:
https://cloud.google.com/dataflow/docs/guides/updating-a-pipeline
"""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from beam_jobs import backfill, stream
from beam_jobs.config.job_config import job_config

pytestmark = pytest.mark.slow

SUBSCRIPTION = "projects/demo-project/subscriptions/prompts-sub"
OPTIONS = {
    "project": "demo-project",
    "responses_topic": "projects/demo-project/topics/predictions",
    "dead_letter_topic": "projects/demo-project/topics/dead-letters",
    "images_output_location": "gs://demo-project-imagen/images",
}
# Where a name holds that of a class, that class cannot be renamed.
STREAM = """\
Imagen
Imagen/Generate
Imagen/Generate/BatchElements
Imagen/Generate/BatchElements/ParDo(_GlobalWindowsBatchingDoFn)
Imagen/Generate/BeamML_RunInference
Imagen/Parse
Messages
Prompts
Prompts/Map(_from_proto_str)
Prompts/ParDo(_AddMetricsPassThrough)
Prompts/Read
Publish
Publish/Dead letters
Publish/Dead letters/ParDo(_PubSubWriteDoFn)
Publish/Dead letters/ToProtobufX
Publish/Encode
Publish/Encode/ParDo(Encode)
Publish/Predictions
Publish/Predictions/ParDo(_PubSubWriteDoFn)
Publish/Predictions/ToProtobufX
"""
# The names that are ours; a batch job is never updated.
BACKFILL = {
    *("Prompts", "Spread files", "Read", "Spread prompts", "Imagen", "Publish", "Report"),
    *("Report/Create", "Report/Tally outcomes", "Report/Count prompts", "Report/Sum"),
    "Report/Write",
}


def parsed(*, streaming: bool, **others: str) -> PipelineOptions:
    flags = [f"--{name}={value}" for name, value in {**OPTIONS, **others}.items()]
    return PipelineOptions(flags, streaming=streaming)


def names(pipeline: beam.Pipeline) -> set[str]:
    """Return the full names of all transforms, composite ones included."""
    found: set[str] = set()

    class Names(PipelineVisitor):
        def visit_transform(self, transform: AppliedPTransform) -> None:
            found.add(transform.full_label)

        def enter_composite_transform(self, transform: AppliedPTransform) -> None:
            found.add(transform.full_label)

    pipeline.visit(Names())
    return found - {""}


def test_a_running_stream_can_be_updated_in_place():
    options = parsed(streaming=True, messages_subscription=SUBSCRIPTION)
    pipeline = beam.Pipeline(options=options)
    stream.build(pipeline, job_config(options, streaming=True), SUBSCRIPTION)
    assert sorted(names(pipeline)) == STREAM.splitlines()


@pytest.mark.parametrize("plan", [None, "gs://demo-project-imagen/plan.jsonl"])
@pytest.mark.parametrize("report", [None, "gs://demo-project-imagen/report.json"])
def test_the_steps_of_a_backfill_keep_the_names_that_people_know(
    report: str | None, plan: str | None
):
    options = parsed(
        streaming=False, prompts="gs://demo-project-imagen/prompts/*", source="backfill:1"
    )
    pipeline = beam.Pipeline(options=options)
    config = job_config(options, streaming=False)
    backfill.build(pipeline, config, "gs://demo-project-imagen/prompts/*", report, plan=plan)
    expected = {name for name in BACKFILL if report or not name.startswith("Report")}
    assert {name for name in names(pipeline) if name in BACKFILL} == expected
