"""Whatever a row of output holds: an image that was asked for, or a word that says why not."""

import base64
import json
import random

import pytest

from beam_jobs.catalog import CATALOG
from beam_jobs.prefetch.output_row import RowEnd, Unusable, Usable, check_line
from localcloud.vertex.pictures import canned, cut_jpeg
from tests.beam_jobs.prefetch.outputs import answer, output, requests_of

SECRET = "A fox that nobody may read about"
PNG = canned(2000)


@pytest.fixture
def fox(prompt_of):
    return prompt_of(SECRET, images=2)


@pytest.fixture
def check(fox):
    """Check a line with what the manifest knows of the fox."""
    known = {row.image: row for _, row in requests_of(fox)}
    return lambda line, is_ended=True: check_line(line, known.get, is_ended=is_ended)


@pytest.fixture
def request_of_fox(fox):
    return requests_of(fox)[0][0]


def unusable(checked, end) -> Unusable:
    assert isinstance(checked, Unusable)
    assert checked.end is end
    assert "fox" not in checked.detail
    return checked


def test_an_image_comes_with_what_is_known_of_its_request_and_the_price_of_a_batch(check, fox):
    for index, (request, known) in enumerate(requests_of(fox)):
        found = check(output(request, answer(PNG, fox.model)))
        assert isinstance(found, Usable)
        assert (found.row, found.image.data, found.image.extension) == (known, PNG, "png")
        assert (found.row.digest, found.row.index) == (fox.digest, index)
        prices = CATALOG[fox.model].usd_per_million_tokens
        full = (9 * prices.input + 1120 * prices.image_output) / 1e6
        assert found.bill.usd == pytest.approx(full / 2)
        assert (found.bill.tier, found.bill.image_tokens) == ("batch", 1120)


def test_the_format_is_what_the_bytes_show(check, request_of_fox, fox):
    line = output(request_of_fox, answer(PNG, fox.model, mime_type="image/webp"))
    found = check(line)
    assert isinstance(found, Usable)
    assert found.image.mime_type == "image/png"


def test_of_several_images_the_last_that_is_no_thought_counts(check, request_of_fox, fox):
    response = answer(PNG, fox.model)
    parts = response["candidates"][0]["content"]["parts"]
    draft = answer(canned(1500), fox.model)["candidates"][0]["content"]["parts"][0]
    parts.insert(0, draft)
    parts.append({**draft, "thought": True})
    found = check(output(request_of_fox, response))
    assert isinstance(found, Usable)
    assert found.image.data == PNG


def test_the_rest_of_an_echo_may_be_written_anew(check, request_of_fox, fox):
    request = {
        "contents": request_of_fox["contents"],
        "labels": request_of_fox["labels"],
        "generation_config": {"response_modalities": ["IMAGE"], "candidate_count": 1},
    }
    assert isinstance(check(output(request, answer(PNG, fox.model))), Usable)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ('Bad Request: {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}', "INVALID_ARGUMENT"),
        ("Too Many Requests (429): fox", "429"),
        ("Something about a fox", "without a code"),
        ({"code": 8, "message": "fox"}, "RESOURCE_EXHAUSTED"),
        ({"error": {"code": 503, "message": "fox"}}, "503"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED"),
        ({"message": "fox"}, "without a code"),
        ({"error": {"message": "fox"}}, "without a code"),
        (["fox"], "without a code"),
        (7, "without a code"),
    ],
)
def test_a_row_that_failed_has_its_code_and_none_of_its_words(check, request_of_fox, status, code):
    found = unusable(check(output(request_of_fox, {}, status)), RowEnd.FAILED)
    assert found.code == code
    assert code in found.detail
    assert found.row is not None
    assert found.bill.usd == 0


@pytest.mark.parametrize("status", ["", " ", None, {}, {"code": 0}])
def test_these_statuses_mean_success(check, request_of_fox, fox, status):
    found = check(output(request_of_fox, answer(PNG, fox.model), status))
    assert isinstance(found, Usable)


def test_an_error_in_the_place_of_an_answer_is_a_failure(check, request_of_fox):
    response = {"error": {"code": 503, "message": f"about {SECRET}", "status": "UNAVAILABLE"}}
    found = unusable(check(output(request_of_fox, response)), RowEnd.FAILED)
    assert found.code == "UNAVAILABLE"


def test_a_refusal_is_billed_and_quotes_nothing(check, request_of_fox, fox):
    usage = answer(PNG, fox.model)["usageMetadata"]
    for response in (
        {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": SECRET}},
        {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": SECRET}]},
    ):
        line = output(request_of_fox, {**response, "usageMetadata": usage})
        found = unusable(check(line), RowEnd.REFUSED)
        assert found.bill.usd
        assert found.bill.tier == "batch"


def without_image(fox):
    whole = base64.b64encode(PNG).decode()
    with_text = answer(b"This is no picture of a fox", fox.model)
    yield with_text
    yield answer(cut_jpeg(), fox.model)
    yield answer(PNG[:-20], fox.model)
    for data in (whole[:-7], whole[:-7] + "!", "fox fox", "", None, 5, {"fox": 1}):
        broken = answer(PNG, fox.model)
        broken["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = data
        yield broken
    yield from ({}, None, [], "fox", 5, {"candidates": "fox"}, {"candidates": [{"content": 5}]})
    yield {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": SECRET}]}}]}


def test_an_answer_without_a_whole_image_stores_none(check, request_of_fox, fox):
    for response in without_image(fox):
        found = check(output(request_of_fox, response))
        assert unusable(found, RowEnd.NO_IMAGE).row is not None


def test_an_answer_of_another_model_is_not_stored_as_the_one_that_was_asked(
    check, request_of_fox, fox
):
    response = {**answer(PNG, fox.model), "modelVersion": "gemini-2.5-flash-image"}
    found = unusable(check(output(request_of_fox, response)), RowEnd.OTHER_MODEL)
    assert found.bill.usd


def test_an_echo_without_its_label_stores_nothing(check, request_of_fox, fox):
    bare = {name: value for name, value in request_of_fox.items() if name != "labels"}
    for request in (bare, {**bare, "labels": {}}, {**bare, "labels": "fox"}, None, [], "fox", {}):
        found = unusable(check(output(request, answer(PNG, fox.model))), RowEnd.UNLABELLED)
        assert found.row is None


def test_a_label_of_another_job_stores_nothing(check, request_of_fox, fox):
    for name in (f"{'0' * 32}-0", f"{fox.digest}-2", "fox", ""):
        request = {**request_of_fox, "labels": {"imagen-image": name}}
        unusable(check(output(request, answer(PNG, fox.model))), RowEnd.UNKNOWN)


def test_a_label_under_another_rows_request_stores_nothing(check, fox, prompt_of):
    (hare, _), *_ = requests_of(prompt_of("A hare"))
    request = {**hare, "labels": requests_of(fox)[0][0]["labels"]}
    found = unusable(check(output(request, answer(PNG, fox.model))), RowEnd.ECHO_CHANGED)
    assert found.row is None


@pytest.mark.parametrize(
    "line", [b"{not JSON", b"[1]", b'"fox"', b"5", b"null", b"\xff\xfe\x00", b'{"a": "\xff"}']
)
def test_a_line_that_is_no_row_is_unreadable_and_at_the_end_of_a_file_cut_off(check, line):
    unusable(check(line), RowEnd.UNREADABLE)
    unusable(check(line, is_ended=False), RowEnd.CUT_OFF)


def test_a_whole_last_row_needs_no_line_end(check, request_of_fox, fox):
    assert isinstance(check(output(request_of_fox, answer(PNG, fox.model)), False), Usable)


def test_a_row_that_was_written_twice_is_told_by_the_same(check, request_of_fox, fox):
    one, two = (output(request_of_fox, answer(data, fox.model)) for data in (PNG, canned(1500)))
    assert check(one).told_by == check(one).told_by != check(two).told_by
    failed, other = (output(request_of_fox, {}, status) for status in ("boom 429", "boom 503"))
    assert check(failed).told_by == check(failed).told_by != check(other).told_by


def test_whatever_is_changed_in_a_row_it_is_an_image_or_a_word(check, request_of_fox, fox):
    chance = random.Random(7)
    whole = json.loads(output(request_of_fox, answer(PNG, fox.model)))
    nonsense = [None, 0, "", "x", [], {}, [[]], [{}], {"a": []}, 1e308, True, "\ud800", "9" * 50]

    def spoilt(value):
        if chance.random() < 0.08:
            return chance.choice(nonsense)
        if isinstance(value, dict):
            return {name: spoilt(each) for name, each in value.items() if chance.random() > 0.03}
        return [spoilt(each) for each in value] if isinstance(value, list) else value

    ends = set()
    for _ in range(2000):
        found = check(json.dumps(spoilt(whole)).encode())
        ends.add(found.end if isinstance(found, Unusable) else None)
        assert isinstance(found, Usable) or "fox" not in found.detail
        if isinstance(found, Usable):
            assert found.image.data == PNG
    assert {None, RowEnd.UNLABELLED, RowEnd.ECHO_CHANGED, RowEnd.FAILED, RowEnd.NO_IMAGE} <= ends
