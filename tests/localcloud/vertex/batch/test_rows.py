"""Rows of a job's output: answers, refusals, errors, and what settings make wrong."""

import base64
import io
import json

import pytest
from PIL import Image

from beam_jobs.catalog import CATALOG
from tests.localcloud.vertex.batch.conftest import BUCKET, MODEL, Services, row


def image_of(answer):
    [candidate] = answer["response"]["candidates"]
    [part] = candidate["content"]["parts"]
    return base64.b64decode(part["inlineData"]["data"])


def label_of(answer):
    return answer["request"]["labels"]["row"]


def test_every_request_gets_a_row_with_an_image_and_comes_back_in_another_order(
    services: Services,
):
    rows = services.rows(services.run([row(f"A fox {n}", n) for n in range(30)]))
    labels = [label_of(each) for each in rows]
    assert sorted(labels) == sorted(f"r{n}" for n in range(30))
    assert labels != [f"r{n}" for n in range(30)], "the order is not kept"
    assert list(rows[0]) == ["status", "processed_time", "request", "response"]
    for each in rows:
        assert each["status"] == ""
        assert each["request"] == row(f"A fox {label_of(each)[1:]}", label_of(each)[1:])["request"]
        Image.open(io.BytesIO(image_of(each))).verify()
        assert each["response"]["modelVersion"] == MODEL
        # What is billed at half the price says no more than that it was on demand.
        assert each["response"]["usageMetadata"]["trafficType"] == "ON_DEMAND"


def test_a_picture_is_drawn_as_for_a_call(services: Services):
    services.models(canned_bytes=0)
    job = services.run([row("A fox", imageConfig={"aspectRatio": "16:9", "imageSize": "1K"})])
    [answer] = services.rows(job)
    assert Image.open(io.BytesIO(image_of(answer))).size == (1024, 576)


def test_a_prompt_is_refused_as_a_call_is_and_that_is_no_error(services: Services):
    job = services.run([row("x fault:blocked"), row("x fault:blocked-image"), row("x fault:empty")])
    answers = services.rows(job)
    assert {each["status"] for each in answers} == {""}
    reasons = {
        str(each["response"].get("promptFeedback", {}).get("blockReason"))
        for each in answers
        if "promptFeedback" in each["response"]
    }
    assert reasons == {"PROHIBITED_CONTENT"}
    assert job["completionStats"] == {"successfulCount": "3"}


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (row("x fault:invalid"), "Bad Request", 400),
        (row("x fault:quota"), "Too Many Requests", 429),
        (row("x fault:error"), "Internal Server Error", 500),
        (row("x fault:unavailable"), "Service Unavailable", 503),
        (row("x", imageConfig={"imageSize": "2K"}), "Bad Request", 400),
        ({"request": {"contents": "x", "labels": {"row": "r0"}}}, "Bad Request", 400),
    ],
)
def test_a_row_that_fails_says_so_in_its_status_and_has_an_empty_response(
    services: Services, bad, status, code
):
    job = services.run([bad])
    [answer] = services.rows(job)
    words, _, body = answer["status"].partition(": ")
    assert (words, json.loads(body)["error"]["code"]) == (status, code)
    assert answer["response"] == {}
    assert answer["request"] == bad["request"]
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["completionStats"] == {"failedCount": "1"}


def test_a_reference_that_is_not_there_fails_its_row_alone(services: Services):
    services.put(b"no picture", "references/a.png")
    missing, unfit = row("A"), row("B")
    for each, name in ((missing, "none.png"), (unfit, "a.png")):
        file = {"fileUri": f"gs://{BUCKET}/references/{name}", "mimeType": "image/png"}
        each["request"]["contents"][0]["parts"].append({"fileData": file})
    job = services.run([missing, unfit, row("C")])
    statuses = sorted(each["status"].partition(":")[0] for each in services.rows(job))
    assert statuses == ["", "Bad Request", "Not Found"]


def test_a_fault_of_a_connection_leaves_its_row_out(services: Services):
    job = services.run([row("x fault:cut"), row("x fault:hang"), row("y")])
    assert len(services.rows(job)) == 1
    assert job["state"] == "JOB_STATE_PARTIALLY_SUCCEEDED"
    assert job["completionStats"] == {"successfulCount": "1", "incompleteCount": "2"}
    assert job["partialFailures"][0]["message"] == "2 rows were not finished."


# What settings make wrong

TEN = [row(f"A fox {n}", n) for n in range(10)]


def test_a_share_of_rows_fails_with_a_code_and_another_without(services: Services):
    job = services.run(TEN, failed_rate=0.3, wordless_rate=0.2)
    statuses = [each["status"] for each in services.rows(job) if each["status"]]
    assert sum("RESOURCE_EXHAUSTED" in each for each in statuses) == 3
    assert statuses.count("INTERNAL") == 2
    assert job["completionStats"] == {"successfulCount": "5", "failedCount": "5"}


def test_rows_are_doubled_or_missing(services: Services):
    job = services.run(TEN, doubled_rate=0.4)
    assert len(services.lines(job)) == 14
    assert len(set(map(label_of, services.rows(job)))) == 10
    assert job["completionStats"] == {"successfulCount": "10"}
    job = services.run(TEN, doubled_rate=0, missing_rate=0.4)
    assert len(services.lines(job)) == 6
    assert job["completionStats"]["incompleteCount"] == "4"


def test_labels_are_lost_or_changed(services: Services):
    lost = services.rows(services.run(TEN, unlabelled_rate=0.3))
    assert sum("labels" not in each["request"] for each in lost) == 3
    changed = services.rows(services.run(TEN, unlabelled_rate=0, relabelled_rate=0.3))
    assert sum(label_of(each).endswith("-x") for each in changed) == 3


def test_an_image_is_none(services: Services):
    rows = services.rows(services.run(TEN, no_image_rate=0.2))
    assert sum(image_of(each) == b"This is no picture." for each in rows) == 2


def test_the_last_line_ends_in_its_middle(services: Services):
    lines = services.lines(services.run(TEN, cut=True))
    assert len(lines) == 10
    assert all(json.loads(line) for line in lines[:-1])
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|Invalid"):
        json.loads(lines[-1])
    assert not lines[-1].endswith(b"\n")


# Money


def test_a_row_costs_half_of_what_a_call_costs_by_its_tokens(services: Services):
    before = services.set()["billed_usd"]
    job = services.run([*TEN, row("x fault:invalid"), row("x fault:blocked")], failed_rate=0.25)
    billed = services.set()["billed_usd"] - before
    prices, expected = CATALOG[MODEL].usd_per_million_tokens, 0.0
    for each in services.rows(job):
        usage = each["response"].get("usageMetadata")
        if usage:
            kinds = {d["modality"]: d["tokenCount"] for d in usage["candidatesTokensDetails"]}
            words = usage.get("thoughtsTokenCount", 0) + kinds.get("TEXT", 0)
            expected += usage["promptTokenCount"] * prices.input + words * prices.text_output
            expected += kinds.get("IMAGE", 0) * prices.image_output
    assert expected
    assert billed == pytest.approx(expected * 0.5 / 1e6)


def test_a_doubled_row_costs_once_and_a_missing_one_nothing(services: Services):
    image_usd = CATALOG[MODEL].image_tokens["1K"] * 30 * 0.5 / 1e6

    def cost(**settings):
        before = services.set()["billed_usd"]
        services.run([row("A", 1, thinkingConfig={"thinkingLevel": "minimal"})], **settings)
        return services.set()["billed_usd"] - before

    assert cost(doubled_rate=1) == pytest.approx(image_usd, rel=0.05)
    assert cost(doubled_rate=0, missing_rate=1) == 0
