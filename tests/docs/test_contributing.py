"""The recipes of CONTRIBUTING.md against the code: each instance there is stands where they say."""

import argparse
import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.config.options import ImagenOptions
from beam_jobs.prompts.fields import FIELD_NAMES
from beam_jobs.prompts.identity import _ALWAYS
from imagen_ops.jobs.params import JobForm
from tests.docs.markdown import ROOT, section, targets, text_of
from tests.docs.test_runbook import alert_events, dags, terraform

TEXT = text_of(ROOT / "CONTRIBUTING.md")
_FOLDERS = ("beam_jobs", "plugins", "dags")
_KINDS = {".py", ".js", ".html", ".json"}

# Fields and options whose names are also words for other things: where they stand says nothing.
COMMON_WORDS = {
    "prompt",
    "id",
    "model",
    "images",
    "prompts",
    "report",
    "source",
    "plan",
    "template",
    "references",
}
TEMPLATES = {
    f"beam_jobs/templates/{name}.json"
    for name in ("parameters", "stream", "backfill", "prefetch_import")
}

# Where a name stands besides its recipe's files, and why that is no step of the recipe.
EXCEPTIONS = {
    # The digest of prompts from before fields could be added must stay what it is.
    # What serves a model decides the image too.
    "beam_jobs/prompts/identity.py": {*_ALWAYS, "reuse", "model_endpoint", "postprocess"},
    # What decides the likely cost of a prompt, for plans and for budgets of money.
    "beam_jobs/prompts/likely_cost.py": {*("image_size", "system_instruction", "thinking_level")},
    # Where models may be called decides what batch inference can make, and so what a plan costs.
    "plugins/imagen_ops/backfill/file_count.py": {
        *("image_size", "thinking_level", "model_location"),
    },
    "beam_jobs/prefetch/batchable.py": {"image_size", "model_endpoint", "model_location"},
    "beam_jobs/prefetch/prepare.py": {"max_images", "model_location"},
    "plugins/imagen_ops/backfill/plan_totals.py": {"thinking_level"},
    # A person's answer has the fields of the run's budget.
    "plugins/imagen_ops/backfill/approval.py": {"max_images", "max_cost_usd"},
    "plugins/imagen_ops/backfill/approve.py": {"max_images", "max_cost_usd"},
    "plugins/imagen_ops/ui/panels/backfills.py": {"max_images", "max_cost_usd"},
    # In flex, prompts may be older.
    "plugins/imagen_ops/health/collect.py": {"request_tier"},
    # The checks of options that are about the same thing.
    "beam_jobs/config/serving.py": {"request_tier", "flex_fallback_seconds", "model_location"},
    "plugins/imagen_ops/backfill/stored_records.py": {"images_output_location"},
    # A dead letter is replayed with new images if its sender asked for that.
    "dags/imagen_dead_letters.py": {"reuse"},
    # The parser's defaults come from the job's options, which its refusals name.
    "beam_jobs/prompts/parse.py": {
        *("allowed_models", "allowed_image_sizes", "max_images_per_prompt", "model_endpoint"),
        *("reference_buckets", "postprocess"),
    },
    # What a custom function can change, and what it cannot.
    "beam_jobs/prompts/revision.py": {"model_endpoint", "postprocess"},
    # The functions themselves, and what names them.
    "beam_jobs/custom/function.py": {"preprocess", "postprocess"},
    # A plan counts what it is.
    "plugins/imagen_ops/backfill/plan.py": {"request_tier", "preprocess"},
    "plugins/imagen_ops/backfill/planning.py": {
        *("request_tier", "images_output_location", "preprocess", "model_location"),
    },
    "plugins/imagen_ops/backfill/budget.py": {"preprocess", "model_location"},
    "beam_jobs/prompts/references.py": {"reference_buckets"},
    # Prompts have one name for the values of a template; files have a column for each.
    "beam_jobs/prompts/templates.py": {"vars"},
    "beam_jobs/prompts/csv_fields.py": {"vars", "prompt_template"},
    "beam_jobs/cli/commands/publish.py": {"vars"},
    # What others' resources are allowed: the rules, and what they are about.
    "beam_jobs/allowed.py": {"allowed_projects", "allowed_buckets"},
    "beam_jobs/config/ownership.py": {
        *("allowed_projects", "allowed_buckets", "reference_buckets")
    },
    # Which fields decide whether another model can make a prompt.
    "beam_jobs/prompts/alternative.py": {
        *("aspect_ratio", "image_size", "thinking_level", "negative_prompt")
    },
    # Where an option is used.
    "beam_jobs/engine/hold.py": {"fallback_models"},
    "beam_jobs/engine/signed_urls.py": {"signed_url_hours"},
    "beam_jobs/engine/served_models.py": {"max_requests_per_minute"},
    "beam_jobs/fleet/fleet.py": {"max_requests_per_minute"},
    "beam_jobs/stream.py": {"messages_subscription"},
    "beam_jobs/config/budgets.py": {
        *("max_images", "max_images_per_hour", "max_images_per_day", "max_cost_usd")
    },
    "beam_jobs/engine/purse.py": {"max_images"},
    # A job of other options has its own check, and its own code.
    "beam_jobs/prefetch/import_config.py": {
        *("images_output_location", "max_retry_seconds", "thumbnails")
    },
    "beam_jobs/prompts/limits.py": {"max_rows", "max_unpacked_bytes"},
    "beam_jobs/prompts/rows.py": {"max_rows", "max_unpacked_bytes"},
    "beam_jobs/prompts/canary.py": {"canary_keys"},
    "beam_jobs/models/predict.py": {"prompt_field"},
    # The budget of a run is that of its plan and of its job.
    "plugins/imagen_ops/backfill/run.py": {"max_images", "max_cost_usd"},
    "plugins/imagen_ops/backfill/operators.py": {"max_cost_usd"},
    "plugins/imagen_ops/backfill/reconciliation.py": {"max_images", "max_cost_usd"},
    "dags/imagen_backfill.py": {"max_images", "max_cost_usd"},
}


@functools.cache
def sources() -> dict[str, str]:
    """Return the source files that are deployed, by their path, with their texts."""
    paths = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*")]
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in [*paths, ROOT / "composer.tf", ROOT / "monitoring.tf"]
        if path.is_file() and path.suffix in _KINDS | {".tf"}
    }


def where(pattern: str) -> set[str]:
    return {path for path, text in sources().items() if re.search(pattern, text, re.MULTILINE)}


def steps(recipe: str) -> set[str]:
    """Return the files that a recipe names in its numbered steps."""
    return _files(re.findall(r"(?m)^\d\. (.+)$", section(TEXT, recipe)))


def conditional(recipe: str) -> set[str]:
    """Return the files that a recipe names for special cases."""
    return _files(re.findall(r"(?m)^- If (.+)$", section(TEXT, recipe)))


def _files(lines: list[str]) -> set[str]:
    named = {path for line in lines for path in re.findall(r"`([\w./]+\.\w+)`", line)}
    return {path for path in named if (ROOT / path).is_file()}


def unexplained(name: str, found: set[str], recipe: str) -> set[str]:
    explained = {path for path, names in EXCEPTIONS.items() if name in names}
    return found - steps(recipe) - conditional(recipe) - explained


def options() -> list[str]:
    parser = argparse.ArgumentParser()
    ImagenOptions._add_argparse_args(parser)
    return list(vars(parser.parse_args([])))


def field_stands_in(name: str) -> set[str]:
    return where(rf"[\"'.]{name}\b|^    {name}: ")


def option_stands_in(name: str) -> set[str]:
    return where(rf"--{name}\b|[\"']{name}[\"']|^    {name}: ")


@pytest.mark.parametrize("name", sorted(set(KNOWN_MODELS) - {DEFAULT_MODEL}))
def test_a_model_stands_where_the_recipe_says(name: str) -> None:
    # As a whole string: in a sentence it is an example.
    assert where(rf"[\"']{re.escape(name)}[\"']") == steps("Add a model")


@pytest.mark.parametrize("name", sorted(set(FIELD_NAMES) - COMMON_WORDS))
def test_a_prompt_field_stands_where_the_recipe_says(name: str) -> None:
    assert unexplained(name, field_stands_in(name), "Add a prompt field") == set()


def test_each_file_of_a_prompt_field_has_most_of_them() -> None:
    found = [field_stands_in(name) for name in set(FIELD_NAMES) - COMMON_WORDS - {"reuse"}]
    always = steps("Add a prompt field")
    assert {path for path in always if sum(path in files for files in found) < 3} == set()
    assert conditional("Add a prompt field") <= set().union(*found)
    assert len(always | conditional("Add a prompt field")) <= 5


@pytest.mark.parametrize("name", options())
def test_a_job_option_stands_where_the_recipe_says(name: str) -> None:
    recipe, found = "Add a job option", option_stands_in(name)
    first, form = "beam_jobs/config/options.py", steps(recipe) - TEMPLATES
    assert first in found
    assert found & TEMPLATES
    if name in COMMON_WORDS:
        return
    in_form = name in {field.name for field in dataclasses.fields(JobForm)}
    assert (form - {first} <= found) == in_form
    assert unexplained(name, found - TEMPLATES, recipe) == set()


@pytest.mark.slow
def test_the_files_of_a_job_option_are_few_and_real() -> None:
    recipe = "Add a job option"
    assert len(steps(recipe)) <= 4
    found = set().union(*(option_stands_in(name) for name in set(options()) - COMMON_WORDS))
    assert steps(recipe) | conditional(recipe) <= found


@pytest.mark.parametrize("event", sorted(alert_events()))
def test_an_alert_stands_where_the_recipe_says(event: str) -> None:
    raised = {path for path, text in sources().items() if _raises(path, text, event)}
    assert raised
    # As a whole string of the code; in a docstring it is an example.
    quoted = {path for path in where(rf"[\"']{event}[\"']") if _is_string_in(path, event)}
    assert quoted - raised <= conditional("Add an alert")
    assert conditional("Add an alert") == {"monitoring.tf"}
    assert all(
        event in text_of(ROOT / page) for page in steps("Add an alert") if page[:4] == "docs"
    )
    assert {page for page in steps("Add an alert") if page[:4] == "docs"} == {
        *("docs/runbook.md", "docs/operating.md")
    }


def _raises(path: str, text: str, event: str) -> bool:
    if not path.endswith(".py") or event not in text:
        return False
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "alert"
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == event
        for node in ast.walk(ast.parse(text))
    )


def _is_string_in(path: str, word: str) -> bool:
    if not path.endswith(".py"):
        return True
    tree = ast.parse(sources()[path])
    return any(isinstance(node, ast.Constant) and node.value == word for node in ast.walk(tree))


def test_line_alerts_are_those_of_events() -> None:
    found = set(re.findall(r'(?m)^      event    = "(\w+)"$', terraform()))
    assert found
    assert found <= alert_events()


@pytest.mark.parametrize("dag_id", sorted(dags()))
def test_a_dag_stands_where_the_recipe_says(dag_id: str) -> None:
    files = steps("Add a DAG")
    assert len(files) == 4
    for path in files:
        assert re.search(rf"\b{dag_id}\b", text_of(ROOT / path)), path
    # Whoever else names it tells a person to look there, or reads what it leaves. Only files of
    # DAGs and of the page do anything with it.
    acting = where(rf"[\"']{dag_id}[\"']")
    assert [
        path for path in acting if not path.startswith(("dags/", "plugins/imagen_ops/ui/"))
    ] == []


def test_every_command_of_the_table_is_a_target_and_every_target_for_developers_is_there() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", section(TEXT, "Commands")))
    assert named <= targets()
    users = {"help", "install", "demo", "up", "down", "publish", "watch", "images", "clean"}
    assert targets() - users - named <= {"test-faults"}


def test_exceptions_are_needed() -> None:
    names = {*FIELD_NAMES, *options()}
    for path, excepted in EXCEPTIONS.items():
        assert excepted <= names, path
        text = sources()[path]
        assert [
            name for name in excepted - COMMON_WORDS if not re.search(rf"\b{name}\b", text)
        ] == []


def test_the_files_of_the_recipes_are_there() -> None:
    recipes = section(TEXT, "Recipes")
    paths = set(re.findall(r"`((?:beam_jobs|plugins|dags|docs|tests)/[\w./]+)`", recipes))
    assert len(paths) > 12
    assert [path for path in paths if not Path(ROOT / path).exists()] == []
