"""Rows in BigQuery: the tables have the fields of the messages, and Pub/Sub can write to them."""

import datetime
import json
import re
from typing import Any

import pytest

from beam_jobs.outcomes import Prediction
from tests.conftest import ROOT
from tests.docs.test_schemas import OUTCOMES
from tests.message_schemas import message_of, schema
from tests.terraform.answers import NUMBER
from tests.terraform.workspace import Deployment, of_kind

pytestmark = pytest.mark.slow

SCHEMAS = {"predictions": "prediction", "dead_letters": "dead_letter"}
AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
# As the service names them: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables.
SCALARS = {"string": "STRING", "integer": "INTEGER", "number": "FLOAT", "boolean": "BOOLEAN"}


@pytest.fixture(scope="module")
def deployed(team: Deployment) -> dict[str, dict[str, Any]]:
    """What is applied with a dataset, by address."""
    return team.resources


def columns_of(resources: dict[str, dict[str, Any]], table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        resources[f'google_bigquery_table.imagen["{table}"]']["schema"]
    )
    return found


def column(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """Return the column that holds what a JSON Schema allows."""
    (kind,) = {*([field["type"]] if isinstance(field["type"], str) else field["type"])} - {"null"}
    if kind == "array":
        return {**column(name, field["items"]), "mode": "REPEATED"}
    if kind == "object" and "properties" in field:
        fields = [column(*each) for each in field["properties"].items()]
        return {"name": name, "type": "RECORD", "fields": fields}
    if kind == "object":
        return {"name": name, "type": "JSON"}
    is_time = field.get("format") == "date-time"
    return {"name": name, "type": "TIMESTAMP" if is_time else SCALARS[kind]}


# A table would keep them for a year.
SECRET = {"signed_urls"}


@pytest.mark.parametrize("table", SCHEMAS)
def test_a_table_has_the_fields_of_its_message_and_no_others(
    deployed: dict[str, dict[str, Any]], table: str
) -> None:
    fields = schema(SCHEMAS[table])["properties"]
    expected = [column(*each) for each in fields.items() if each[0] not in SECRET]
    assert columns_of(deployed, table) == expected


def fits(value: Any, column: dict[str, Any]) -> bool:
    """Whether a column holds a value of JSON."""
    if column.get("mode") == "REPEATED":
        one = {**column, "mode": "NULLABLE"}
        return isinstance(value, list) and all(
            each is not None and fits(each, one) for each in value
        )
    match column["type"], value:
        case _, None:
            return True
        case "RECORD", dict():
            return all(fits(value.get(each["name"]), each) for each in column["fields"])
        case "TIMESTAMP", str():
            return datetime.datetime.fromisoformat(value).tzinfo is not None
        case "INTEGER", int():
            return not isinstance(value, bool) and abs(value) < 2**63
        case (
            ("FLOAT", int() | float()) | ("BOOLEAN", bool()) | ("STRING", str()) | ("JSON", dict())
        ):
            return True
    return False


def test_every_kind_of_message_fits_into_its_table(deployed: dict[str, dict[str, Any]]) -> None:
    for kind, outcome in OUTCOMES.items():
        table = "predictions" if isinstance(outcome, Prediction) else "dead_letters"
        message = message_of(outcome)
        for one in columns_of(deployed, table):
            assert fits(message.get(one["name"]), one), (kind, one)


def test_pub_sub_writes_rows_and_sets_aside_what_does_not_fit(
    deployed: dict[str, dict[str, Any]],
) -> None:
    for table, topic in (("predictions", "predictions"), ("dead_letters", "dead-letters")):
        one = deployed[f'google_pubsub_subscription.bigquery["{table}"]']
        (config,) = one["bigquery_config"]
        assert config["table"] == f"my-project.imagen.{table}"
        assert (config["use_table_schema"], config["drop_unknown_fields"]) == (True, True)
        assert not config["use_topic_schema"]
        assert one["topic"] == f"projects/my-project/topics/pics-{topic}"
        # Health probes are no rows.
        assert one["filter"] == ("NOT attributes:canary" if table == "predictions" else "")
        (aside,) = one["dead_letter_policy"]
        assert aside["dead_letter_topic"] == "projects/my-project/topics/pics-bigquery-rejects"
    kept = deployed["google_pubsub_subscription.bigquery_rejects[0]"]
    assert kept["topic"] == "projects/my-project/topics/pics-bigquery-rejects", (
        "or they would be lost"
    )


def test_a_row_is_in_the_partition_of_a_day_and_ends_when_it_is_said(
    deployed: dict[str, dict[str, Any]],
) -> None:
    days = {"predictions": "created_at", "dead_letters": None}
    for table, field in days.items():
        one = deployed[f'google_bigquery_table.imagen["{table}"]']
        (partition,) = one["time_partitioning"]
        assert (partition["type"], partition["field"] or None) in {("DAY", field)}
        assert partition["expiration_ms"] == 30 * 24 * 3600 * 1000
        assert one["deletion_protection"] is True


def test_pub_subs_own_account_has_what_this_needs_on_the_dataset_alone(
    deployed: dict[str, dict[str, Any]],
) -> None:
    found = {
        (
            one["role"],
            (one.get("dataset_id") or one.get("topic") or one["subscription"]).rpartition("/")[2],
        )
        for name, one in deployed.items()
        if "_iam_member" in name and one["member"] == AGENT
    }
    assert found == {
        ("roles/bigquery.dataEditor", "imagen"),
        ("roles/bigquery.metadataViewer", "imagen"),
        ("roles/pubsub.publisher", "pics-bigquery-rejects"),
        ("roles/pubsub.subscriber", "pics-predictions-bigquery"),
        ("roles/pubsub.subscriber", "pics-dead-letters-bigquery"),
    }
    datasets = of_kind(deployed, "google_bigquery_dataset_iam_member").values()
    assert {one["member"] for one in datasets} == {AGENT}


def test_without_a_dataset_there_is_nothing_of_this(applied: Deployment) -> None:
    assert not [name for name in applied.resources if "bigquery" in name]


def test_a_saved_query_asks_for_columns_that_there_are(deployed: dict[str, dict[str, Any]]) -> None:
    names = {one["name"] for table in SCHEMAS for one in columns_of(deployed, table)}
    queries = sorted((ROOT / "docs" / "queries").glob("*.sql"))
    assert len(queries) == 3
    for path in queries:
        sql = re.sub(r"--.*|'[^']*'", "", path.read_text(encoding="utf-8"))
        tables = set(re.findall(r"\bIMAGEN\.(\w+)", sql))
        assert tables <= set(SCHEMAS), path
        made = set(re.findall(r"\bAS (\w+)|(\w+) AS \(", sql))
        aliases = {name for pair in made for name in pair if name}
        words = set(re.findall(r"\b[a-z_][a-z_0-9]*\b", sql)) - aliases - tables
        assert words <= names, path
