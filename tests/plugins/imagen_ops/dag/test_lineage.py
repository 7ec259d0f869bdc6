import subprocess
import sys

import pytest

from imagen_ops.dag.lineage import TABLES, Dataset, Lineage
from imagen_ops.settings import Settings
from tests.conftest import ROOT
from tests.plugins.imagen_ops.test_settings import COMPLETE


def settings(**others: str) -> Settings:
    return Settings.from_environment({**COMPLETE, **others})


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("gs://b-1/prompts/ds=2026-11-29/*", "prompts/ds=2026-11-29"),
        ("gs://b-1/prompts/mine/*.csv", "prompts/mine"),
        ("gs://b-1/prompts/mine/", "prompts/mine"),
        ("gs://b-1/prompts/a*/b/*.txt", "prompts"),
        ("gs://b-1/prompts/one.txt", "prompts/one.txt"),
        ("gs://b-1/prompts/what[?].txt", "prompts"),
        ("gs://b-1/mine*.txt", "/"),
    ],
)
def test_prompt_files_are_named_by_their_folder_and_a_single_one_by_itself(
    glob: str, name: str
) -> None:
    assert Dataset.files(glob) == Dataset("gs://b-1", name)


def test_a_job_writes_images_and_to_topics_and_to_tables_if_there_are_any() -> None:
    prompts = Dataset.files("gs://my-project-imagen/prompts/mine/*")
    job = Lineage.of_job(settings(), prompts)
    assert job.inputs == (prompts,)
    assert job.outputs == (
        Dataset("gs://my-project-imagen", "images"),
        Dataset("pubsub", "topic:my-project:predictions"),
        Dataset("pubsub", "topic:my-project:dead-letters"),
    )
    with_tables = Lineage.of_job(settings(IMAGEN_BIGQUERY_DATASET="rows"), prompts)
    assert with_tables.outputs[:3] == job.outputs
    assert [each.name for each in with_tables.outputs[3:]] == [
        *("my-project.rows.predictions", "my-project.rows.dead_letters")
    ]


def test_what_a_replay_publishes_is_what_the_stream_reads() -> None:
    replay, stream = Lineage.of_replay(settings()), Lineage.of_stream(settings())
    assert stream.inputs[0] in replay.outputs
    assert replay.inputs[0] in stream.outputs


def test_the_import_reads_the_folder_of_its_run() -> None:
    lineage = Lineage.of_import(settings(), "gs://my-project-imagen/prefetch/0f0f/")
    assert lineage.inputs == (Dataset("gs://my-project-imagen", "prefetch/0f0f"),)


def test_the_tables_are_those_that_are_deployed() -> None:
    text = (ROOT / "composer.tf").read_text(encoding="utf-8")
    rows = text.partition("\n  rows = {\n")[2].partition("\n  }\n")[0]
    assert rows
    assert all(f"\n    {name} = {{" in f"\n{rows}" for name in TABLES)


@pytest.mark.slow
def test_a_dag_that_is_parsed_imports_nothing_of_openlineage() -> None:
    # Even where it is installed: it costs seconds.
    program = "import sys, imagen_ops.dag.tasks; print(*(m for m in sys.modules if 'lineage' in m))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    ours = {"imagen_ops.dag.lineage"}
    assert {m for m in found.stdout.split() if not m.startswith("airflow.sdk")} == ours
