"""The check of a staged pipeline."""

import pytest

from localcloud.dataflow.pipeline_check import check

pytestmark = pytest.mark.slow  # imports Beam

SUBSCRIPTION = "projects/demo-project/subscriptions/prompts-sub"


@pytest.fixture(scope="module")
def pipeline() -> bytes:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    made = beam.Pipeline(options=PipelineOptions([], streaming=True))
    made | beam.io.ReadFromPubSub(subscription=SUBSCRIPTION)
    return bytes(made.to_runner_api().SerializeToString())


def test_options_come_back_as_the_arguments_they_were_given_as(pipeline):
    options = {
        "messages_subscription": SUBSCRIPTION,
        "max_in_flight": 8.0,
        "max_retry_seconds": 2.5,
        "call_timeout_seconds": None,
        "labels": ["a=b", "c=d"],
        "runner": "DataflowRunner",
        "dataflow_endpoint": "http://localhost:1",
        "report": None,
    }
    result = check(streaming=True, options=options, pipeline=pipeline)
    assert result.problems == []
    assert result.subscription == SUBSCRIPTION
    assert sorted(result.arguments) == [
        "--labels=a=b",
        "--labels=c=d",
        "--max_in_flight=8",
        "--max_retry_seconds=2.5",
        f"--messages_subscription={SUBSCRIPTION}",
    ]


@pytest.mark.parametrize(
    ("staged", "wanted", "words"),
    [
        (b"\xff not a pipeline", SUBSCRIPTION, "is no pipeline"),
        (b"", SUBSCRIPTION, "has no transforms"),
        (None, "projects/demo-project/subscriptions/other", "expected a pipeline that reads from"),
    ],
    ids=["no pipeline", "empty", "another subscription"],
)
def test_a_pipeline_that_is_not_what_its_options_say_is_a_problem(pipeline, staged, wanted, words):
    options = {"messages_subscription": wanted}
    staged = pipeline if staged is None else staged
    result = check(streaming=True, options=options, pipeline=staged)
    assert any(words in problem for problem in result.problems)
