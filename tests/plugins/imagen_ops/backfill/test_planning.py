"""Plans of nights of prompt files in the local cloud's storage."""

import json
import subprocess
import sys
from typing import Any

import pytest
from google.api_core import exceptions

from beam_jobs.prompts.globs import GlobError
from beam_jobs.prompts.parse import Prompt, parse
from imagen_ops.backfill import planning
from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.plan_text import summary
from imagen_ops.backfill.planned_references import reference_problem
from imagen_ops.backfill.planning import plan_backfill
from tests.conftest import BUCKET, ROOT, Lane
from tests.plugins.imagen_ops.backfill.conftest import MODEL, Planned, defaults_of, prompt, store


def test_a_date_without_a_folder_has_nothing_to_do(planned: Planned) -> None:
    result = planned("prompts/ds=2026-11-01/*")
    assert (result.files, result.prompts, result.images_to_pay) == (0, 0, 0)
    assert result.nothing_to_do
    assert result.already_stored.exact


def test_what_a_preprocess_function_will_change_counts_as_new(lane: Lane, planned: Planned) -> None:
    lane.put("prompts/a.txt", "a fox\nan owl\n")
    store(lane, prompt("a fox"))
    assert planned().images_to_pay == 1
    result = planned(preprocess="custom.example:prepare")
    assert (result.images_to_pay, result.already_stored.looked_up) == (2, 0)
    assert Plan.from_json(result.to_json()) == result


def test_a_glob_that_passes_over_a_file_of_its_own_name_is_refused(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/x1.txt", "a fox\n")
    assert planned("prompts/x[1].txt").prompts == 1
    lane.put("prompts/x[1].txt", "an owl\na hen\n")
    with pytest.raises(GlobError, match=r"write gs://.*/prompts/x\[\[\]1\]\.txt"):
        planned("prompts/x[1].txt")
    assert planned("prompts/x[[]1].txt").prompts == 2
    lane.put("prompts/run1/a.txt", "a fox\n")
    lane.put("prompts/run[1]/a.txt", "an owl\n")
    with pytest.raises(GlobError, match=r"write gs://.*/prompts/run\[\[\]1\]/\*"):
        planned("prompts/run[1]/")


def test_a_missing_bucket_is_an_error_not_an_empty_night(lane: Lane) -> None:
    with pytest.raises(exceptions.NotFound):
        plan_backfill(
            lane.storage,
            "gs://no-such-b/p/*",
            defaults=defaults_of(),
            images_location="gs://no-such-b/i",
        )


def test_a_plan_counts_what_the_job_will_make_of_a_template(lane: Lane, planned: Planned) -> None:
    template = lane.storage.bucket(BUCKET).blob(f"templates/prompts/{lane.name}.txt")
    lane.put("prompts/a.csv", "product,surface\na shoe,oak\na shoe,oak\na hat,\n")
    lane.put("prompts/b.txt", "A studio photo of a shoe on oak\n")
    template.upload_from_string("A studio photo of {product} on {surface}")
    result = planned(prompt_template=lane.name)
    # A row of the second file is a value of {prompt}, which this template doesn't have.
    assert (result.prompts, result.distinct, result.invalid) == (2, 1, 2)
    template.reload()
    assert result.first_invalid[0].endswith(
        f"a.csv:4: template {lane.name}@{template.generation}: no value for {{surface}}, which the "
        "template needs"
    )
    assert planned().problems == 1, "without a template, a.csv has an unknown column"


def test_a_reference_that_is_not_there_is_named_before_the_night(
    lane: Lane, planned: Planned
) -> None:
    there = lane.put("references/a b.png", b"a picture")
    gone = [f"gs://{BUCKET}/{lane.name}/references/no-{number}.png" for number in range(2)]
    rows = [{"prompt": f"a shoe {n}", "references": [there, gone[n % 2]]} for n in range(20)]
    lane.put("prompts/a.jsonl", "\n".join(json.dumps(row) for row in rows))
    lane.put("prompts/b.csv", f"prompt,references\na hat,{gone[0]}\n")
    result = planned()
    assert (result.prompts, result.invalid, result.problems) == (21, 0, 2)
    assert result.first_problems == tuple(
        f"{path}: a reference that is not there; put it there, or its prompts become dead letters"
        for path in gone
    )
    assert f"problem: {gone[0]}: a reference that is not there" in summary(result)
    lane.put("references/no-0.png", b"a picture")
    assert planned().problems == 1


def test_a_plan_looks_up_a_bounded_number_of_references_and_none_twice(
    lane: Lane, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(planning, "reference_problem", lambda _, path: asked.append(path))
    for name, first in (("a", 0), ("b", 500)):
        rows = [
            {"prompt": f"{n}", "references": [f"gs://{BUCKET}/r/{n}.png"]}
            for n in range(first, first + 800)
        ]
        lane.put(f"prompts/{name}.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert planned().prompts == 1_600
    assert sorted(asked) == sorted(f"gs://{BUCKET}/r/{n}.png" for n in range(1_000))


def test_a_reference_that_airflow_may_not_read_is_taken_to_be_there() -> None:
    class Refusing:
        def bucket(self, name: str) -> Any:
            return self

        blob = bucket

        def exists(self) -> bool:
            raise exceptions.Forbidden("no access")

    assert reference_problem(Refusing(), "gs://others/a.png") is None  # type: ignore[arg-type]


def test_all_invalid_rows_are_counted_and_the_first_are_shown(lane: Lane, planned: Planned) -> None:
    for name in ("a", "b"):
        lane.put(f"prompts/{name}.jsonl", b"no object\n" * 15)
    result = planned()
    assert (result.invalid, len(result.first_invalid)) == (30, 20)
    assert [line.split("/")[-1].split(":")[0] for line in result.first_invalid] == (
        ["a.jsonl"] * 15 + ["b.jsonl"] * 5
    )
    assert not result.nothing_to_do  # they become dead letters


def test_a_task_plans_with_the_client_of_its_connection(deployment: Any) -> None:
    settings, client = deployment.settings, deployment.clients.storage.client()
    client.bucket(settings.bucket).blob("prompts/ds=1/a.txt").upload_from_string("a fox\n")
    result = plan_backfill(
        client,
        f"gs://{settings.bucket}/prompts/ds=1/*",
        defaults=defaults_of(model=settings.model),
        images_location=settings.images_location,
    )
    assert (result.prompts, result.images_to_pay) == (1, 1)


ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"allowed_models": MODEL},
        {"allowed_image_sizes": "1K"},
        {"max_images_per_prompt": 1},
        {"model": "flux-1", "model_endpoint": ENDPOINT},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_a_plan_takes_a_prompt_for_what_the_job_takes_it_for(
    lane: Lane, planned: Planned, changes: dict[str, Any]
) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_jobs.config.job_config import job_config

    given = {"model": MODEL, **changes}
    options = lane.options(prompts=f"gs://{BUCKET}/*", source="backfill:plan", **given)
    config = job_config(PipelineOptions(options), streaming=False)
    assert config.defaults == defaults_of(**changes)
    rows = [
        {"prompt": "a fox"},
        {"prompt": "a fox", "model": "gemini-3-pro-image"},
        {"prompt": "a fox", "image_size": "2K"},
        {"prompt": "a fox", "images": 2},
    ]
    lane.put("prompts/a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    items = [
        parse(json.dumps(row).encode(), {}, origin="1", defaults=config.defaults) for row in rows
    ]
    prompts = [item for item in items if isinstance(item, Prompt)]
    store(lane, *prompts)
    plan = planned(**changes)
    assert (plan.prompts, plan.invalid) == (len(prompts), len(rows) - len(prompts))
    assert plan.images_to_pay == 0, "it finds what the job has stored"
    assert plan.invalid == (1 if len(changes) == 1 else 0)
    if changes:
        assert planned().images_to_pay > 0 or plan.invalid, "another option, other digests"


@pytest.mark.parametrize("location", ["", "images", "gs://", "gs://b*/images"])
def test_a_malformed_images_location_is_refused(planned: Planned, location: str) -> None:
    with pytest.raises(ValueError, match="images location: expected gs://"):
        planned(images_location=location)


def test_a_malformed_glob_is_refused(lane: Lane) -> None:
    with pytest.raises(ValueError, match="does not begin with gs://"):
        plan_backfill(
            lane.storage,
            "prompts/*",
            defaults=defaults_of(),
            images_location=lane.images_location,
        )


@pytest.mark.slow
def test_importing_planning_imports_neither_clients_nor_the_parser() -> None:
    heavy = "('google', 'apache_beam', 'beam_jobs.prompts.parse', 'airflow')"
    code = (
        f"import sys; sys.path.insert(0, 'plugins'); import imagen_ops.backfill.planning; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    command = [sys.executable, "-S", "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
