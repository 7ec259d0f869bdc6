"""What is refused of a request for a batch job."""

import pytest

from localcloud.rest import ApiError
from localcloud.vertex.batch.orders import parse_order
from tests.localcloud.vertex.batch.conftest import INPUT, MODEL, OUTPUT, order


@pytest.mark.parametrize(
    "model",
    [
        f"publishers/google/models/{MODEL}",
        f"projects/p/locations/global/publishers/google/models/{MODEL}",
        f"publishers/google/models/{MODEL}@001",
    ],
)
def test_a_publishers_model_has_three_forms(model):
    assert parse_order(order(model=model), "global").model == MODEL


def test_one_uri_may_be_a_text():
    body = order(inputConfig={"instancesFormat": "jsonl", "gcsSource": {"uris": INPUT}})
    parsed = parse_order(body, "global")
    assert (parsed.input_uri, parsed.output_prefix) == (INPUT, OUTPUT)


@pytest.mark.parametrize(
    ("others", "code", "message"),
    [
        ({"displayName": ""}, 400, "display_name"),
        ({"displayName": "x" * 129}, 400, "display_name"),
        ({"model": "publishers/google/models/gemini-1.0"}, 404, "gemini-1.0 does not exist"),
        ({"model": "projects/p/locations/global/models/7"}, 400, "Do not support model"),
        ({"inputConfig": {"instancesFormat": "bigquery"}}, 400, "inputConfig"),
        (
            {"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [INPUT, INPUT]}}},
            400,
            "one file",
        ),
        (
            {"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["/tmp/x"]}}},
            400,
            "Invalid Cloud Storage URI: '/tmp/x'",
        ),
        ({"outputConfig": None}, 400, "outputConfig"),
        ({"serviceAccount": "me@p.iam.gserviceaccount.com"}, 400, "serviceAccount"),
        ({"labels": {"Run": "1"}}, 400, "Invalid label"),
        ({"labels": {"run": "x" * 65}}, 400, "Invalid label"),
        ({"labels": {"run": 1}}, 400, "Invalid label"),
    ],
)
def test_what_there_is_not_is_refused(others, code, message):
    with pytest.raises(ApiError, match=message) as error:
        parse_order(order(**others), "global")
    assert error.value.code == code


def test_a_model_is_served_at_the_catalogs_locations_alone():
    with pytest.raises(ApiError, match=f"Do not support publisher model {MODEL}"):
        parse_order(order(), "us-central1")


def test_models_can_be_gone_or_without_batch_inference():
    with pytest.raises(ApiError) as gone:
        parse_order(order(), "global", retired=MODEL)
    with pytest.raises(ApiError) as unserved:
        parse_order(order(), "global", unserved=f"x, {MODEL}")
    assert (gone.value.code, unserved.value.code) == (404, 400)
