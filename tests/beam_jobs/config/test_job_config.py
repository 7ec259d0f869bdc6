"""Which options the jobs accept, alone and together."""

import pickle
import re

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, SetupOptions

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS, Tier
from beam_jobs.config.job_config import (
    ONE_PROCESS_PER_WORKER,
    JobConfig,
    OptionsError,
    job_config,
    tune_for_dataflow,
)
from beam_jobs.config.serving import Serving
from beam_jobs.images.location import Location

ENDPOINT = "projects/p-1/locations/europe-west4/endpoints/1234"
STREAM = {
    "messages_subscription": "projects/p-1/subscriptions/prompts-sub",
    "responses_topic": "projects/p-1/topics/predictions",
    "dead_letter_topic": "projects/p-1/topics/dead-letters",
    "images_output_location": "gs://bucket-1/images",
}
BACKFILL = {**STREAM, "messages_subscription": None, "prompts": "gs://bucket-1/prompts/*.txt"}


def options(base=STREAM, **changes) -> PipelineOptions:
    given = {**base, **changes}
    return PipelineOptions(
        [f"--{name}={value}" for name, value in given.items() if value is not None]
    )


def config(base=STREAM, **changes) -> JobConfig:
    return job_config(options(base, **changes), streaming=base is STREAM)


def complaints(base=STREAM, **changes) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        config(base, **changes)
    return str(caught.value).splitlines()


def test_a_stream_needs_four_options_and_has_defaults_for_the_rest():
    result = config()
    assert result.images_location == Location("bucket-1", "images/")
    assert result.defaults.model == DEFAULT_MODEL
    assert result.defaults.allowed_models == frozenset(KNOWN_MODELS)
    assert result.defaults.source == "stream"
    assert result.project == "p-1"
    assert (result.max_in_flight, result.max_retry_s) == (64, 600.0)
    assert (result.requests_per_minute, result.budgets) == (None, ())
    assert result.serving == Serving(("global",), "us-central1", Tier.STANDARD, None, 300.0)


def test_a_backfill_needs_prompts_in_place_of_the_subscription():
    assert config(BACKFILL).defaults.source == "backfill:manual"
    assert config(
        BACKFILL, source="backfill:run-1", report="gs://bucket-1/r.json"
    ).defaults.source == ("backfill:run-1")


def test_a_config_travels_to_workers_and_names_one_engine_each():
    assert pickle.loads(pickle.dumps(config())) == config()
    assert hash(config()) == hash(config())
    assert config() != config(max_in_flight=65)


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        (
            STREAM,
            {"messages_subscription": None},
            "--messages_subscription: expected projects/PROJECT/subscriptions/NAME, got nothing",
        ),
        (STREAM, {"messages_subscription": "prompts-sub"}, "--messages_subscription: expected"),
        (
            STREAM,
            {"responses_topic": "predictions"},
            "--responses_topic: expected projects/PROJECT/topics/NAME, got 'predictions'",
        ),
        (
            STREAM,
            {"responses_topic": "projects/p-1/subscriptions/x"},
            "--responses_topic: expected",
        ),
        (STREAM, {"dead_letter_topic": None}, "--dead_letter_topic: expected"),
        (
            STREAM,
            {"dead_letter_topic": STREAM["responses_topic"]},
            "expected two different topics, got",
        ),
        (STREAM, {"images_output_location": None}, "--images_output_location: expected gs://"),
        (
            STREAM,
            {"images_output_location": "/tmp/images"},
            "--images_output_location: expected gs://",
        ),
        (
            STREAM,
            {"images_output_location": "gs://bucket/*"},
            "--images_output_location: expected gs://",
        ),
        (
            STREAM,
            {"prompts": "p.txt"},
            "--prompts and --report are only for beam_jobs.backfill",
        ),
        (
            STREAM,
            {"report": "r.json"},
            "--prompts and --report are only for beam_jobs.backfill",
        ),
        (STREAM, {"source": "backfill:x"}, "--source: expected stream, got 'backfill:x'"),
        (
            STREAM,
            {"model": "gemini-x/../y"},
            "--model: expected a model name such as gemini-nano-banana-2.1",
        ),
        (
            STREAM,
            {"allowed_models": "gemini-a, gemini-b?c"},
            "--allowed_models: expected a model name",
        ),
        (BACKFILL, {"source": "stream"}, "--source: expected backfill:RUN, got 'stream'"),
        (BACKFILL, {"source": "backfill:a b"}, "--source: expected backfill:RUN"),
        (BACKFILL, {"prompts": None}, "--prompts: expected a path or glob"),
        (
            BACKFILL,
            {"messages_subscription": STREAM["messages_subscription"]},
            "--messages_subscription is only for beam_jobs.stream",
        ),
        (STREAM, {"canary_keys": "keys.json"}, "--canary_keys: expected gs://BUCKET/OBJECT"),
        (BACKFILL, {"canary_keys": "gs://b-1/keys.json"}, "only for beam_jobs.stream"),
        (STREAM, {"max_in_flight": 0}, "--max_in_flight: expected a number above 0, got 0"),
        *(
            (
                STREAM,
                {"signed_url_hours": hours},
                "--signed_url_hours: expected over 0 and at most 168",
            )
            for hours in (0, -1, 168.5, "nan", "inf")
        ),
        (
            STREAM,
            {"max_requests_per_minute": -1},
            "--max_requests_per_minute: expected a number above 0",
        ),
        (STREAM, {"max_retry_seconds": 0}, "--max_retry_seconds: expected a number above 0"),
        (STREAM, {"max_retry_seconds": "nan"}, "--max_retry_seconds: expected a number above 0"),
        (STREAM, {"call_timeout_seconds": "inf"}, "--call_timeout_seconds: expected a number"),
        (STREAM, {"max_requests_per_minute": "inf"}, "--max_requests_per_minute: expected a"),
        (STREAM, {"call_timeout_seconds": 0}, "--call_timeout_seconds: expected a number above 0"),
        (STREAM, {"max_images": 0}, "--max_images: expected a number above 0"),
        (STREAM, {"max_images_per_hour": 0}, "--max_images_per_hour: expected a number above 0"),
        (STREAM, {"max_images_per_day": -1}, "--max_images_per_day: expected a number above 0"),
        (BACKFILL, {"max_images_per_day": 1}, "only for beam_jobs.stream; set --max_images"),
        (BACKFILL, {"max_rows": 0}, "--max_rows: expected a number above 0"),
        (BACKFILL, {"max_unpacked_bytes": 0}, "--max_unpacked_bytes: expected a number above 0"),
        (BACKFILL, {"plan": "plan.jsonl"}, "--plan: expected the gs:// path of a plan"),
        (
            BACKFILL,
            {"plan": "gs://b/plan.jsonl", "prompts": "/prompts/*"},
            "--plan: expected the gs:// path of a plan, and gs:// files in --prompts",
        ),
        (STREAM, {"plan": "gs://b/plan.jsonl"}, "--plan is only for beam_jobs.backfill"),
        (STREAM, {"model": "flux-1"}, "set --model_endpoint to the endpoint that serves it"),
        (
            STREAM,
            {"model_endpoint": ENDPOINT},
            "--model_endpoint is only for models with the :predict API",
        ),
        (
            STREAM,
            {"model": "flux-1", "model_endpoint": "1234"},
            "--model_endpoint: expected projects/PROJECT/locations/LOCATION/endpoints/ID",
        ),
        (
            STREAM,
            {"model": "flux-1", "model_endpoint": "projects/p/locations/a.example#/endpoints/1"},
            "--model_endpoint: expected projects/PROJECT/locations/LOCATION/endpoints/ID",
        ),
        (
            STREAM,
            {"model": "flux-1", "model_endpoint": ENDPOINT, "allowed_models": "flux-1,flux-2"},
            "--allowed_models: 'flux-2' is not a Google model",
        ),
        (
            STREAM,
            {"model": "flux-1", "model_endpoint": ENDPOINT, "request_tier": "flex"},
            "--request_tier: flex is only for Gemini models",
        ),
        (
            STREAM,
            {"model": "gemini-2.5-flash-image", "request_tier": "priority"},
            "--request_tier: gemini-2.5-flash-image has no tier priority; use standard or flex",
        ),
        (
            STREAM,
            {"model_location": "global,us", "request_tier": "flex"},
            "--model_location: Google serves flex at global only, got global,us",
        ),
        (
            STREAM,
            {"model": "imagen-4.0-generate-001", "model_location": "us,eu"},
            "--model_location: imagen-4.0-generate-001 has the :predict API, which is called at",
        ),
        (STREAM, {"model_location": "us,us"}, "--model_location: expected a location"),
        (STREAM, {"model_location": "us,/x"}, "--model_location: expected a location"),
        (
            STREAM,
            {"flex_fallback_seconds": 60},
            "--flex_fallback_seconds is only for --request_tier=flex, got standard",
        ),
        (
            STREAM,
            {"flex_fallback_seconds": 0, "request_tier": "flex"},
            "--flex_fallback_seconds: expected a number above 0",
        ),
        (
            STREAM,
            {"prompt_field": "text"},
            "--prompt_field text is only for a model on --model_endpoint; set that too",
        ),
        (
            STREAM,
            {"model": "flux-1", "model_endpoint": ENDPOINT, "prompt_field": "a prompt"},
            "--prompt_field: expected a field's name such as prompt or text, or -, got 'a prompt'",
        ),
        (STREAM, {"max_image": 3}, "--max_image: no such option"),
        (STREAM, {"no_such_thing": "x"}, "--no_such_thing: no such option"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict | str) else None,
)
def test_invalid_options_are_named_in_one_line_each(base, changes, expected):
    problems = [line for line in complaints(base, **changes) if expected in line]
    assert len(problems) == 1


def test_all_problems_are_reported_at_once():
    problems = complaints(
        responses_topic="x",
        images_output_location="y",
        max_in_flight=0,
        source="z",
        model_endpoint="w",
        colour="red",
        prompts="p.txt",
    )
    for word in (
        "--responses_topic:",
        "--images_output_location:",
        "--max_in_flight:",
        "--source:",
        "--model_endpoint: expected",
        "--model_endpoint is only for",
        "--colour:",
        "--prompts and --report",
    ):
        assert [line for line in problems if line.startswith(word)], word
    assert len(problems) == 8


def test_an_unknown_tier_is_refused():
    with pytest.raises(SystemExit):
        options(request_tier="turbo").get_all_options()


@pytest.mark.parametrize(
    ("changes", "model", "allowed"),
    [
        (
            {"model": "imagen-4.0-generate-001"},
            "imagen-4.0-generate-001",
            {*KNOWN_MODELS, "imagen-4.0-generate-001"},
        ),
        ({"model": "flux-1", "model_endpoint": ENDPOINT}, "flux-1", {*KNOWN_MODELS, "flux-1"}),
        (
            {"allowed_models": " gemini-a , imagen-b,"},
            DEFAULT_MODEL,
            {"gemini-a", "imagen-b", DEFAULT_MODEL},
        ),
        ({"allowed_models": ""}, DEFAULT_MODEL, set(KNOWN_MODELS)),
    ],
)
def test_prompts_may_name_the_allowed_models_and_the_default(changes, model, allowed):
    result = config(**changes)
    assert (result.defaults.model, result.defaults.allowed_models) == (model, allowed)


def test_the_workers_of_a_job_share_its_rate_and_its_budgets():
    result = config(max_requests_per_minute=90, max_images=10, max_num_workers=4)
    assert result.requests_per_minute == 90
    assert ([budget.amount for budget in result.budgets], result.workers) == ([10], 4)
    assert result.max_in_flight == 64
    alone = config(max_requests_per_minute=90, max_images=10)
    assert (alone.requests_per_minute, alone.workers) == (90, 1)


def test_workers_tell_of_each_other_in_a_folder_of_their_run():
    stream = config(max_num_workers=4)
    assert re.fullmatch(r"jobs/fleet/stream-\w{16}", stream.fleet)
    assert config(max_num_workers=9).fleet == stream.fleet, "as after an update in place"
    assert config(num_workers=4).fleet == stream.fleet
    other = config(max_num_workers=4, images_output_location="gs://imagen-local/other")
    assert other.fleet != stream.fleet, "of another deployment in the same bucket"
    of_run = config(BACKFILL, max_num_workers=4, source="backfill:run-1")
    assert of_run.fleet.startswith("jobs/fleet/backfill-run-1-")


def test_a_worker_that_is_alone_tells_nobody():
    assert (config().fleet, config(max_num_workers=1).fleet) == (None, None)
    on_dataflow = job_config(options(runner="DataflowRunner"), streaming=True)
    assert on_dataflow.fleet, "Dataflow starts as many as it sees fit"


def test_whatever_is_launched_for_a_run_shares_its_budget_and_other_jobs_do_not():
    run = {"max_images": 10, "source": "backfill:run-1"}
    assert config(BACKFILL, **run).budgets == config(BACKFILL, **run, max_in_flight=7).budgets
    manual = {"max_images": 10}
    assert config(BACKFILL, **manual).budgets != config(BACKFILL, **manual).budgets


def test_a_budget_of_money_is_kept_beside_that_of_images():
    images, money = config(BACKFILL, max_images=9, max_cost_usd=2.5, source="backfill:x").budgets
    assert (money.option, money.amount, money.unit) == ("--max_cost_usd", 2_500_000, "micro_usd")
    assert images.ledger.removesuffix(".json") == money.ledger.removesuffix("-cost.json")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "gemini-4-image"}, "gemini-4-image"),
        ({"allowed_models": f"gemini-4-image,{DEFAULT_MODEL}"}, "gemini-4-image"),
        ({"fallback_models": "imagen-4.0-generate-001"}, "imagen-4.0-generate-001"),
    ],
)
def test_a_budget_of_money_for_an_unknown_price_is_refused_at_the_start(changes, name):
    assert config(**changes, max_images=9).budgets
    with pytest.raises(OptionsError, match=rf"no known price for {name} .*--max_images instead"):
        config(**changes, max_cost_usd=5)


def test_a_stream_has_budgets_per_hour_and_day():
    budgets = config(max_images_per_hour=10, max_images_per_day=100).budgets
    assert [(budget.option, budget.amount) for budget in budgets] == [
        ("--max_images_per_hour", 10),
        ("--max_images_per_day", 100),
    ]


@pytest.mark.parametrize(
    ("changes", "gemini", "predict"),
    [
        ({"region": "europe-west4"}, ("global",), "europe-west4"),
        ({"model_location": "us-east1", "region": "europe-west4"}, ("us-east1",), "us-east1"),
        ({"model_location": "global, us,eu"}, ("global", "us", "eu"), "global"),
    ],
)
def test_models_are_called_in_the_location_that_the_options_give(changes, gemini, predict):
    result = config(**changes)
    assert (result.serving.gemini_locations, result.serving.predict_location) == (gemini, predict)


def test_the_project_given_wins_over_the_topics():
    assert config(project="other-1", allowed_projects="p-1").project == "other-1"


@pytest.mark.parametrize(
    ("changes", "tier", "call_timeout_s"),
    [
        ({}, Tier.STANDARD, 300.0),
        ({"request_tier": "priority"}, Tier.PRIORITY, 300.0),
        # A call in flex may wait for as long as Google lets it.
        ({"request_tier": "flex"}, Tier.FLEX, 1800.0),
        ({"request_tier": "flex", "call_timeout_seconds": 60}, Tier.FLEX, 60.0),
        # A model without a row may have any tier.
        ({"request_tier": "priority", "model": "gemini-9-image"}, Tier.PRIORITY, 300.0),
    ],
)
def test_the_tier_decides_how_long_a_call_may_take(changes, tier, call_timeout_s):
    serving = config(**changes).serving
    assert (serving.tier, serving.call_timeout_s) == (tier, call_timeout_s)


def test_a_model_that_lacks_the_tier_is_called_in_standard():
    serving = config(request_tier="priority").serving
    assert serving.tier_of(DEFAULT_MODEL) is Tier.PRIORITY
    assert serving.tier_of("gemini-2.5-flash-image") is Tier.STANDARD


# Dataflow


def test_a_job_wide_rate_on_dataflow_needs_the_maximum_number_of_workers():
    rate = {"max_requests_per_minute": 60}
    with pytest.raises(OptionsError, match="before they know of each other it is split evenly"):
        job_config(options(runner="DataflowRunner", **rate), streaming=True)
    job_config(options(runner="DataflowRunner", max_num_workers=2, **rate), streaming=True)
    job_config(options(runner="DataflowRunner", max_images=1), streaming=True)
    job_config(options(**rate), streaming=True)


@pytest.mark.parametrize(
    ("changes", "threads", "experiments"),
    [
        ({}, 64, [ONE_PROCESS_PER_WORKER]),
        ({"max_in_flight": 4}, 12, [ONE_PROCESS_PER_WORKER]),
        ({"number_of_worker_harness_threads": 7}, 7, [ONE_PROCESS_PER_WORKER]),
        ({"experiments": "use_multiple_sdk_containers"}, 64, ["use_multiple_sdk_containers"]),
        ({"experiments": "other"}, 64, ["other", ONE_PROCESS_PER_WORKER]),
    ],
)
@pytest.mark.parametrize("runner", ["DataflowRunner", "TestDataflowRunner"])
def test_a_dataflow_worker_gets_a_thread_for_each_call_in_one_process(
    runner, changes, threads, experiments
):
    given = options(runner=runner, **changes)
    tune_for_dataflow(given, threads=config(**changes).max_in_flight)
    debug = given.view_as(DebugOptions)
    assert debug.number_of_worker_harness_threads == threads
    assert debug.experiments == experiments


@pytest.mark.parametrize(("given", "saved"), [([], False), (["--save_main_session"], True)])
def test_dataflow_gets_no_main_session_unless_the_option_is_set(given, saved):
    """Beam would send one to Dataflow, and its workers would have to load it before they start."""
    pipeline_options = PipelineOptions(["--runner=DataflowRunner", *given])
    tune_for_dataflow(pipeline_options, threads=config().max_in_flight)
    assert pipeline_options.view_as(SetupOptions).save_main_session is saved


def test_a_flex_launchers_own_flags_are_let_through():
    launched = {"template_location": "gs://bucket-1/job_object", "flag_of_the_launchers": "true"}
    config(**launched)
    del launched["template_location"]
    assert complaints(**launched) == ["--flag_of_the_launchers: no such option; check its spelling"]


@pytest.mark.parametrize("runner", [None, "DirectRunner", "localcloud.runner.MicroBatchRunner"])
def test_other_runners_are_left_as_they_are(runner):
    given = options(runner=runner)
    tune_for_dataflow(given, threads=config().max_in_flight)
    debug = given.view_as(DebugOptions)
    assert not debug.number_of_worker_harness_threads
    assert not debug.experiments
