"""The flex templates' metadata asks for exactly the parameters that the jobs accept."""

import json
import re
from pathlib import Path

import googleapiclient
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.import_options import SHARED, ImportOptions
from beam_jobs.config.job_config import OptionsError, job_config
from beam_jobs.config.options import ImagenOptions
from beam_jobs.prefetch.import_config import import_config
from localcloud.resources import template_metadata

JOBS = ("stream", "backfill", "prefetch_import")
TEMPLATES = {name: template_metadata(name) for name in JOBS}
NOT_OF = {
    "stream": {"prompts", "report", "plan", "max_rows", "max_unpacked_bytes"},
    "backfill": {
        "messages_subscription",
        "max_hold_seconds",
        "max_images_per_hour",
        "max_images_per_day",
        "canary_keys",
    },
}
TOPIC = "projects/p-1/topics/predictions"
ENDPOINT = "projects/p-1/locations/europe-west4/endpoints/1234"
REQUIRED = {
    "responses_topic": TOPIC,
    "dead_letter_topic": "projects/p-1/topics/dead-letters",
    "images_output_location": "gs://bucket-1/images",
}
WORKING = {
    "stream": {**REQUIRED, "messages_subscription": "projects/p-1/subscriptions/prompts-sub"},
    "backfill": {**REQUIRED, "prompts": "gs://bucket-1/prompts/*.txt"},
    "prefetch_import": {
        "images_output_location": REQUIRED["images_output_location"],
        "prefetch": "gs://bucket-1/prefetch/r1/",
    },
}
# Examples are of one project and bucket, and the options that work of another.
LISTS = {
    "allowed_projects": "my-project,p-1,example.com:p-1",
    "allowed_buckets": "my-project-imagen,bucket-1",
}
# Values that depend on another option, which a regex cannot check: endpoints serve only models with
# the :predict API.
COMPANIONS = {
    "model_endpoint": {"model": "imagen-4.0-generate-001"},
    "model": {"model_endpoint": ENDPOINT},
    "allowed_models": {"model": "a", "model_endpoint": ENDPOINT},
    "prompt_field": {"model": "flux-1", "model_endpoint": ENDPOINT},
    "flex_fallback_seconds": {"request_tier": "flex"},
}

TOPICS = {
    TOPIC: True,
    "projects/p-1/topics/a.b~c%d+e-f_1": True,
    "predictions": False,
    "projects/p-1/topics/": False,
    "projects//topics/t": False,
    "projects/p-1/topics/t/more": False,
    "projects/p-1/subscriptions/t": False,
    " projects/p-1/topics/t/": False,
    "": False,
}
WHOLE_NUMBERS = {
    "1": True,
    "64": True,
    "007": True,
    "+3": True,
    "0": False,
    "-1": False,
    "1.5": False,
    "1e3": False,
    "many": False,
    "": False,
}
NUMBERS = {
    "1": True,
    "0.5": True,
    ".5": True,
    "10.": True,
    "+2.50": True,
    "1e3": True,
    "1E-3": True,
    "1e99": True,
    "1e400": False,
    "inf": False,
    "Infinity": False,
    "0": False,
    "0.0": False,
    "0e5": False,
    ".": False,
    "-1": False,
    "-inf": False,
    "nan": False,
    "1,5": False,
    "1 minute": False,
    "": False,
}
FUNCTIONS = {
    "custom.example:prepare": True,
    "": True,
    "prepare": False,
    "custom.example:": False,
    "custom.example:a.b": False,
    "../custom:prepare": False,
    "custom.example:prepare()": False,
}
BOTH = {
    "responses_topic": TOPICS,
    "dead_letter_topic": {**TOPICS, TOPIC: False, "projects/p-1/topics/other": True},
    "images_output_location": {
        "gs://bucket-1/images": True,
        "gs://bucket-1": True,
        "gs://bucket-1/a/b c/é/": True,
        "gs://b.example.com/images": True,
        "gs://Bucket/images": False,
        "gs://b": False,
        "gs://bucket-1/*": False,
        "gs://bucket-1/a?b": False,
        "gs://bucket-1/a[1]": False,
        "gs://bucket-1/a\nb": False,
        "/tmp/images": False,
        "": False,
    },
    "model": {"flux-1": True, "imagen-4.0-generate-001": True, "org/flux:1": True},
    "allowed_models": {"a": True, " a , gemini-b,": True, "": True},
    "prompt_template": {"studio-2_b": True, "": True, "../a": False, "A": False, "x" * 64: False},
    "allowed_image_sizes": {
        "1K": True,
        " 1K , 4K,": True,
        "": True,
        "1k": False,
        "1K 2K": False,
        "8K": False,
    },
    "max_images_per_prompt": {
        "1": True,
        "4": True,
        "+02": True,
        "0": False,
        "5": False,
        "1.5": False,
        "": False,
    },
    "allowed_projects": {
        "other-project": True,
        " other-project , 123456,": True,
        "example.com:other": True,
        "": True,
        "projects/other": False,
        "*": False,
        "Other": False,
        "a b": False,
    },
    "preprocess": FUNCTIONS,
    "postprocess": FUNCTIONS,
    "reference_buckets": {"a-bucket": True, " a-bucket , b.c,": True, "gs://a": False},
    "allowed_buckets": {
        "other-bucket": True,
        " a-bucket , b.example.com,": True,
        "": True,
        "gs://other": False,
        "other/folder": False,
        "*": False,
    },
    "fallback_models": {"gemini-a": True, " gemini-a , imagen-b,": True, "": True},
    "model_endpoint": {
        ENDPOINT: True,
        "projects/p-1/locations/global/publishers/google/models/imagen-4": True,
        "": True,
        "1234": False,
        "projects/p-1/locations/global": False,
        "projects/p-1/locations/global/endpoints/": False,
        f"{ENDPOINT}/more": False,
        f"https://{ENDPOINT}": False,
        # Would lead to another host, or to another path on it.
        "projects/p-1/locations/evil.example#/endpoints/1": False,
        "projects/p-1/locations/evil.example?x=/endpoints/1": False,
        "projects/p-1/locations/l/endpoints/..": False,
        "projects/p-1/locations/l/endpoints/1?key=": False,
        "projects/example.com:p-1/locations/us-central1/endpoints/1": True,
    },
    "prompt_field": {
        "prompt": True,
        "text": True,
        "-": True,
        "--": False,
        "a prompt": False,
        "a\nb": False,
        "": False,
    },
    "model_location": {
        "global": True,
        "europe-west4": True,
        "global,us, eu": True,
        "": True,
        "global,": False,
        "global us": False,
        "Europe": False,
        "projects/p-1/locations/global": False,
        "-": False,
    },
    "max_in_flight": WHOLE_NUMBERS,
    "max_images": WHOLE_NUMBERS,
    "max_cost_usd": NUMBERS,
    "max_requests_per_minute": NUMBERS,
    "max_retry_seconds": NUMBERS,
    "call_timeout_seconds": NUMBERS,
    "flex_fallback_seconds": NUMBERS,
    "signed_url_hours": {
        **dict.fromkeys(["24", "0.5", ".5", "1", "99", "159.9", "167.9", "168", "168.0"], True),
        **dict.fromkeys(["0", "0.0", "-1", "168.1", "169", "170", "1000", "1e3", "a", ""], False),
    },
    "image_metadata": {"on": True, "off": True, "prompt": True, "On": False, "": False},
    "thumbnails": {"on": True, "off": True, "On": False, "yes": False, "": False},
    "request_tier": {
        "standard": True,
        "flex": True,
        "priority": True,
        "Flex": False,
        "turbo": False,
        "standard,flex": False,
        "": False,
    },
}
TABLES = {
    "stream": {
        **BOTH,
        "max_hold_seconds": NUMBERS,
        "max_images_per_hour": WHOLE_NUMBERS,
        "max_images_per_day": WHOLE_NUMBERS,
        "messages_subscription": {
            "projects/p-1/subscriptions/s": True,
            "projects/p-1/topics/s": False,
            "projects/p-1/subscriptions/s/more": False,
            "s": False,
            "": False,
        },
        "canary_keys": {
            "gs://bucket-1/keys/canary.json": True,
            "": True,
            "gs://bucket-1/": False,
            "gs://Bucket/keys.json": False,
            "gs://bucket-1/a\nb": False,
            "/tmp/keys.json": False,
        },
        "source": {"stream": True, "": True, "Stream": False, "backfill:x": False, "x": False},
    },
    "backfill": {
        **BOTH,
        "prompts": {
            "gs://bucket-1/prompts/ds=2026-11-01/*.{txt,csv}": True,
            "gs://bucket-1/a b.jsonl.gz": True,
            "": False,
        },
        "report": {"gs://bucket-1/report.json": True, "": True},
        "plan": {"gs://bucket-1/jobs/1/plan.jsonl": True, "": True, "plan.jsonl": False},
        "max_rows": WHOLE_NUMBERS,
        "max_unpacked_bytes": WHOLE_NUMBERS,
        "source": {
            "backfill:run-1": True,
            "backfill:scheduled__2026-11-01T00:00:00+00:00": True,
            "backfill:" + "x" * 200: True,
            "": True,
            "backfill:" + "x" * 201: False,
            "backfill:": False,
            "backfill:a b": False,
            "stream": False,
        },
    },
}
TABLES["prefetch_import"] = {
    **{name: BOTH[name] for name in sorted(SHARED)},
    "prefetch": {
        "gs://bucket-1/prefetch/nightly-2026-11-01/": True,
        "gs://bucket-1/prefetch/nightly-2026-11-01": False,
        "gs://bucket-1/": False,
        "gs://Bucket/x/": False,
        "prefetch/r1/": False,
        "": False,
    },
}
CASES = [
    pytest.param(job, name, value, expected, id=f"{job}-{name}-{value[:40]!r}")
    for job, table in TABLES.items()
    for name, values in table.items()
    for value, expected in values.items()
]
PARAMETERS = [
    pytest.param(job, parameter, id=f"{job}-{parameter['name']}")
    for job, template in TEMPLATES.items()
    for parameter in template["parameters"]
]
with_each_job = pytest.mark.parametrize("job", JOBS)
with_each_parameter = pytest.mark.parametrize(("job", "parameter"), PARAMETERS)


def options_of_ours() -> dict[str, object]:
    """Return the names and defaults of the jobs' own options."""
    options = PipelineOptions([])
    return {
        name: default
        for view in (ImagenOptions, ImportOptions)
        for name, default in options.view_as(view).get_all_options(current_only=True).items()
    }


def names_of(job: str) -> set[str]:
    """Return the names of a job's own options."""
    if job == "prefetch_import":
        return {*SHARED, "prefetch"}
    return set(options_of_ours()) - NOT_OF[job] - {"prefetch"}


def check(job: str, options: PipelineOptions) -> None:
    """Check options as the job does."""
    if job == "prefetch_import":
        import_config(options)
    else:
        job_config(options, streaming=job == "stream")


def accepted_by_the_job(job: str, **parameters: str) -> bool:
    """Return whether `job_config` accepts the parameters as the template's launcher passes them."""
    given = {**WORKING[job], **LISTS, **parameters}
    try:
        options = PipelineOptions([f"--{name}={value}" for name, value in given.items()])
        check(job, options)
    except (OptionsError, SystemExit):
        return False
    return True


def accepted_by_the_template(job: str, name: str, value: str) -> bool:
    [parameter] = [one for one in TEMPLATES[job]["parameters"] if one["name"] == name]
    return all(re.fullmatch(regex, value) for regex in parameter.get("regexes", ()))


def example_of(parameter: dict) -> str:
    match = re.search(r"[.\]] Example: (\S+)$", parameter["helpText"])
    assert match, f"{parameter['name']}: expected helpText to end with 'Example: …'"
    return match[1]


@with_each_job
def test_the_template_has_a_parameter_for_every_option_of_its_job_and_no_other(job):
    names = [parameter["name"] for parameter in TEMPLATES[job]["parameters"]]
    assert sorted(names) == sorted(names_of(job))


@with_each_parameter
def test_a_parameter_is_required_where_the_job_requires_it(job, parameter):
    without = {k: v for k, v in WORKING[job].items() if k != parameter["name"]}
    options = PipelineOptions([f"--{name}={value}" for name, value in without.items()])
    try:
        check(job, options)
        required = False
    except OptionsError:
        required = True
    assert parameter["isOptional"] is not required


@with_each_parameter
def test_a_default_is_the_options_own_and_is_accepted(job, parameter):
    default = options_of_ours()[parameter["name"]]
    stated = parameter.get("defaultValue")
    if default is None:
        assert stated is None
    else:
        assert type(default)(stated) == default
        assert accepted_by_the_template(job, parameter["name"], stated)
    if parameter["isOptional"]:
        assert stated is not None or "default" in parameter["helpText"].lower()


@with_each_parameter
def test_the_help_ends_with_an_example_that_template_and_job_accept(job, parameter):
    name, example = parameter["name"], example_of(parameter)
    companions = COMPANIONS.get(name, {}) if not example.startswith("gemini-") else {}
    assert accepted_by_the_template(job, name, example)
    assert accepted_by_the_job(job, **{**companions, name: example})


def test_all_examples_make_a_job_together():
    # For models with the :predict API, unlike the example's model.
    unlike = {"model_endpoint", "prompt_field"}
    for job, template in TEMPLATES.items():
        given = {one["name"]: example_of(one) for one in template["parameters"]}
        given = {name: value for name, value in given.items() if name not in unlike}
        assert accepted_by_the_job(job, **given)


@pytest.mark.slow
@pytest.mark.parametrize(("job", "name", "value", "expected"), CASES)
def test_the_template_accepts_a_value_where_the_job_does(job, name, value, expected):
    assert accepted_by_the_job(job, **{**COMPANIONS.get(name, {}), name: value}) is expected
    both_topics = name == "dead_letter_topic" and value == TOPIC
    if not both_topics:  # a regex cannot check that two options differ
        assert accepted_by_the_template(job, name, value) is expected


@with_each_job
def test_every_parameter_is_in_the_table(job):
    assert set(TABLES[job]) == {parameter["name"] for parameter in TEMPLATES[job]["parameters"]}


@with_each_parameter
def test_every_parameter_has_a_regex(job, parameter):
    assert parameter["regexes"]
    assert not accepted_by_the_template(job, parameter["name"], "two\nlines")


@with_each_parameter
def test_a_regex_is_anchored_and_within_what_re2_can_do(job, parameter):
    """Google matches with RE2, which has neither look-around nor back references."""
    for regex in parameter.get("regexes", ()):
        assert not re.search(r"\(\?[=!<P#]|\\[1-9]", regex)
        for alternative in re.split(r"\|(?=\^)", regex):
            assert alternative.startswith("^")
            assert alternative.endswith("$")
        assert all(int(count) <= 1000 for count in re.findall(r"\{\d*,?(\d+)\}", regex))


@with_each_parameter
def test_spellings_that_only_python_reads_are_refused_by_the_template(job, parameter):
    if parameter["paramType"] == "NUMBER":
        for value in ("1_000", " 5", "٣"):
            assert not accepted_by_the_template(job, parameter["name"], value)


@with_each_job
def test_the_metadata_has_the_shape_that_the_dataflow_api_describes(job):
    documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((documents / "dataflow.v1b3.json").read_text())["schemas"]
    assert problems(TEMPLATES[job], "TemplateMetadata", schemas) == []
    assert TEMPLATES[job]["streaming"] is (job == "stream")


def problems(value: object, schema: str, schemas: dict, where: str = "") -> list[str]:
    """Return what of `value` the discovery document's schema does not know or calls required."""
    assert isinstance(value, dict)
    properties = schemas[schema]["properties"]
    found = [f"{where}{name}: unknown" for name in value if name not in properties]
    for name, property_ in properties.items():
        if name not in value:
            if property_.get("description", "").startswith("Required."):
                found.append(f"{where}{name}: missing")
            continue
        found += _problems_of(value[name], property_, schemas, f"{where}{name}")
    return found


def _problems_of(value: object, property_: dict, schemas: dict, where: str) -> list[str]:
    if "$ref" in property_:
        return problems(value, property_["$ref"], schemas, f"{where}.")
    kind = {"string": str, "boolean": bool, "array": list, "object": dict}[property_["type"]]
    if not isinstance(value, kind) or value == "":
        return [f"{where}: expected {property_['type']}, got {value!r}"]
    if "enum" in property_ and value not in property_["enum"]:
        return [f"{where}: {value!r} is not in the list"]
    if isinstance(value, list):
        return [
            problem
            for index, item in enumerate(value)
            for problem in _problems_of(item, property_["items"], schemas, f"{where}[{index}]")
        ]
    return []


def test_a_parameter_says_the_same_in_each_template():
    said: dict[str, list[dict]] = {}
    for job in JOBS:
        for parameter in TEMPLATES[job]["parameters"]:
            said.setdefault(parameter["name"], []).append(parameter)
    del said["source"]  # which has another form
    assert all(each == parameters[0] for parameters in said.values() for each in parameters)
