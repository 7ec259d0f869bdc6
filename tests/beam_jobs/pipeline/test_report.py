"""A backfill's counts."""

import json
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.pipeline import PipelineVisitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_jobs.outcomes import Failure, Prediction, Reason, Work
from beam_jobs.pipeline.report import WriteReport, counts_of, render, unaccounted
from beam_jobs.pipeline.transforms import Processed

pytestmark = pytest.mark.slow


def prediction(*, reused=False, **work) -> Prediction:
    return Prediction(
        prompt_id="id",
        deduplication_key="0f" * 32,
        digest="d",
        prompt="a fox",
        images=(),
        model="m",
        source="s",
        reused=reused,
        created_at="now",
        latency_ms=1,
        attributes={},
        work=Work(**work),
    )


def failure(reason, **work) -> Failure:
    return Failure(
        prompt_id="id",
        deduplication_key="0f" * 32,
        reason=reason,
        detail="why",
        retryable=True,
        attempts=1,
        body=b"",
        work=Work(**work),
    )


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            prediction(images=2, bytes=10, calls=3),
            {"predictions": 1, "images": 2, "bytes": 10, "model_calls": 3},
        ),
        (prediction(reused=True), {"predictions": 1, "reused": 1}),
        (
            failure(Reason.BLOCKED, calls=1),
            {"failures": 1, "failures.BLOCKED": 1, "model_calls": 1},
        ),
        # The images of a prompt that fails later are still paid for.
        (
            failure(Reason.MODEL_ERROR, images=1, bytes=5, calls=2),
            {"failures": 1, "failures.MODEL_ERROR": 1, "images": 1, "bytes": 5, "model_calls": 2},
        ),
        (
            failure(Reason.NO_IMAGE, cost_usd=0.0026255, unpriced_calls=1, text_tokens=350),
            {
                "failures": 1,
                "failures.NO_IMAGE": 1,
                "nano_usd": 2_625_500,
                "unpriced_calls": 1,
                "tokens.text": 350,
            },
        ),
    ],
)
def test_an_outcome_counts_for_what_it_is_and_what_it_cost(outcome, expected):
    assert {name: count for name, count in counts_of(outcome).items() if count} == expected


def test_an_empty_report_has_every_count():
    assert render(Counter(), "backfill:x") == {
        "schema": "imagen.report/1",
        "source": "backfill:x",
        "rows": 0,
        "prompts": 0,
        "predictions": 0,
        "reused": 0,
        "failures": 0,
        "images": 0,
        "bytes": 0,
        "model_calls": 0,
        "unpriced_calls": 0,
        "cost_usd": 0.0,
        "tokens": {},
        "failures_by_reason": {},
    }


def test_the_cost_of_a_million_prompts_is_exact():
    work = {"nano_usd": counts_of(prediction(cost_usd=0.0336123))["nano_usd"] * 10**6}
    assert render(work, "backfill:x")["cost_usd"] == 33_612.3


def test_a_cost_that_no_answer_told_is_null():
    assert render({"unpriced_calls": 2}, "backfill:x")["cost_usd"] is None
    assert render({"unpriced_calls": 2, "nano_usd": 10**9}, "backfill:x")["cost_usd"] == 1.0


OUTCOMES = [
    prediction(images=2, bytes=10, calls=2),
    prediction(reused=True),
    failure(Reason.UNAVAILABLE, calls=5),
    failure(Reason.BLOCKED, calls=1),
    failure(Reason.BLOCKED, calls=1),
]


@pytest.mark.parametrize("outcomes", [OUTCOMES, []], ids=["some", "none"])
@pytest.mark.parametrize("where", ["local", "gs"])
def test_the_report_holds_prompts_against_outcomes(request, tmp_path, where, outcomes):
    path = str(tmp_path / "report.json")
    if where == "gs":
        lane = request.getfixturevalue("lane")
        path = lane.images_location.replace("images", "report.json")
    with beam.Pipeline(FnApiRunner()) as pipeline:
        parsed = pipeline | "Parsed" >> beam.Create([object.__name__] * len(outcomes))
        ended = pipeline | "Ended" >> beam.Create(outcomes)
        published = pipeline | "Published" >> beam.Create([])
        Processed(parsed, ended) | WriteReport(path, "backfill:x", (published, published))
    if where == "gs":
        content = lane.objects("report.json")["report.json"]
    else:
        content = (tmp_path / "report.json").read_bytes()
    report = json.loads(content)
    assert report["prompts"] == len(outcomes) == report["predictions"] + report["failures"]
    if outcomes:
        assert report["failures_by_reason"] == {"BLOCKED": 2, "UNAVAILABLE": 1}
        assert (report["images"], report["bytes"], report["model_calls"]) == (2, 10, 9)
        assert report["reused"] == 1


def test_rows_are_counted_apart_where_a_function_makes_more_of_them(tmp_path):
    path = tmp_path / "report.json"
    with beam.Pipeline(FnApiRunner()) as pipeline:
        rows = pipeline | "Rows" >> beam.Create([1, 2])
        parsed = pipeline | "Parsed" >> beam.Create([1] * len(OUTCOMES))
        ended = pipeline | "Ended" >> beam.Create(OUTCOMES)
        published = pipeline | "Published" >> beam.Create([])
        counted = WriteReport(str(path), "backfill:x", (published,), rows)
        Processed(parsed, ended) | counted
    report = json.loads(path.read_bytes())
    assert (report["rows"], report["prompts"]) == (2, 5)


def test_there_is_no_report_when_publishing_fails(tmp_path):
    path = tmp_path / "report.json"

    def refuse(_):
        raise RuntimeError("not published")

    pipeline = beam.Pipeline(FnApiRunner())
    parsed = pipeline | "Parsed" >> beam.Create([1])
    ended = pipeline | "Ended" >> beam.Create([prediction()])
    published = ended | "Publish" >> beam.Map(refuse)
    Processed(parsed, ended) | WriteReport(str(path), "backfill:x", (published,))
    with pytest.raises(RuntimeError, match="not published"):
        pipeline.run()
    assert not path.exists()


def test_the_report_has_every_publishing_to_wait_for(tmp_path):
    """Only this makes a runner publish first; that the FnApiRunner does so anyway is chance."""
    waited_for = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node):
            if node.full_label.endswith("/Write"):
                waited_for.extend(side.pvalue for side in node.side_inputs)

    pipeline = beam.Pipeline(FnApiRunner())
    parsed = pipeline | "Parsed" >> beam.Create([1])
    ended = pipeline | "Ended" >> beam.Create([prediction()])
    published = tuple(ended | f"Publish {topic}" >> beam.Map(str) for topic in ("a", "b"))
    Processed(parsed, ended) | WriteReport(str(tmp_path / "r.json"), "backfill:x", published)
    pipeline.visit(Visitor())
    assert [one for one in waited_for if one in published] == list(published)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompts": 5, "predictions": 3, "failures": 2}', None),
        ('{"prompts": 0, "predictions": 0, "failures": 0}', None),
        (
            '{"prompts": 5, "predictions": 0, "failures": 0}',
            "do not add up: 5 prompts, but 0 outcomes; the others were lost by the runner",
        ),
        ('{"prompts": 5}', "cannot be read"),
        ("", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_report_that_does_not_add_up_is_noticed(tmp_path, content, said):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    problem = unaccounted(str(path))
    assert problem is None if said is None else said in problem
