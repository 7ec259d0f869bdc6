"""The stand-in for Vertex AI, over HTTP, without the adapters that are tested against it."""

import asyncio
import base64
import io

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from localcloud.vertex import Behaviour, Settings, pictures, vertex_app

GEMINI = "/v1beta1/projects/p/locations/global/publishers/google/models/{}:generateContent"
PREDICT = "/v1/projects/p/locations/us-central1/endpoints/1:predict"
TOKEN = {"Authorization": "Bearer x"}


def ask(*requests, **settings):
    """Send requests one after another; their statuses and bodies, and the counts at the end."""

    async def run():
        behaviour = Behaviour(Settings(latency_s=0.0, **settings), seed=1)
        answers = []
        async with TestClient(TestServer(vertex_app(behaviour))) as client:
            for path, body in requests:
                async with client.post(path, json=body, headers=TOKEN) as response:
                    answers.append((response.status, await response.json(), response.headers))
        return answers, behaviour.counts

    return asyncio.run(run())


def gemini(text, **config):
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}
    return GEMINI.format("gemini-3.1-flash-image"), body


def predict(text, **parameters):
    return PREDICT, {"instances": [{"prompt": text}], "parameters": parameters}


def picture(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_generate_content_answers_with_a_picture_of_the_asked_for_shape():
    wanted = gemini("A fox", imageConfig={"aspectRatio": "16:9", "imageSize": "2K"})
    ((status, body, _),), counts = ask(wanted)
    inline = body["candidates"][0]["content"]["parts"][0]["inlineData"]
    assert (status, inline["mimeType"]) == (200, "image/png")
    assert picture(inline["data"]).size == (2048, 1152)
    assert counts.images == 1


def test_predict_answers_with_as_many_pictures_as_asked_for():
    ((status, body, _),), counts = ask(predict("A fox", sampleCount=3))
    assert status == 200
    assert len({one["bytesBase64Encoded"] for one in body["predictions"]}) == 3
    assert all(
        picture(one["bytesBase64Encoded"]).size == (1024, 1024) for one in body["predictions"]
    )
    assert counts.images == 3


def test_the_same_prompt_is_the_same_picture_and_another_is_another():
    one = pictures.draw("A fox", model="m")
    assert one == pictures.draw("A fox", model="m")
    assert (
        len({one, pictures.draw("A hare", model="m"), pictures.draw("A fox", model="m", seed=1)})
        == 3
    )


@pytest.mark.parametrize("text", ["", "x" * 5000, "雪の中の柴犬", "صورة", "🦊", "\u202ea\nb"])
def test_any_text_can_be_drawn(text):
    Image.open(io.BytesIO(pictures.draw(text, model="m"))).load()


@pytest.mark.parametrize("text", ["Une ruelle pavée", "雪の中の柴犬", "बारिश में हवेली", "🦊"])
def test_a_caption_is_in_letters_that_its_font_has(text):
    shown, font = pictures._legible(text, 20)
    assert all(pictures._has(font, letter) for letter in shown)


@pytest.mark.parametrize("size", [500, 1_500_000])
def test_a_canned_picture_is_a_picture_of_exactly_that_size(size):
    data = pictures.canned(size)
    assert len(data) == size
    Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize(
    ("fault", "status"),
    [("unavailable", 503), ("quota", 429), ("error", 500), ("invalid", 400)],
)
def test_a_word_in_the_prompt_triggers_the_fault_that_it_names(fault, status):
    answers, counts = ask(gemini(f"x fault:{fault}"), predict(f"x fault:{fault}"))
    assert [(answer[0], answer[1]["error"]["code"]) for answer in answers] == [(status, status)] * 2
    assert counts.images == 0


def test_blocked_prompts_have_the_response_format_of_each_protocol():
    answers, _ = ask(
        gemini("fault:blocked"),
        gemini("fault:blocked-image"),
        predict("fault:blocked"),
        predict("fault:blocked-image"),
    )
    assert answers[0][1]["promptFeedback"]["blockReason"]
    assert answers[1][1]["candidates"][0]["finishReason"] == "IMAGE_SAFETY"
    assert answers[2][0] == 400
    assert "raiFilteredReason" in answers[3][1]["predictions"][0]


def test_a_once_fault_affects_each_prompt_once():
    once = gemini("a fault:unavailable-once")
    other = gemini("b fault:unavailable-once")
    answers, _ = ask(once, once, other, once, other)
    assert [answer[0] for answer in answers] == [503, 200, 503, 200, 200]


def test_a_word_that_names_no_fault_is_just_a_word():
    answers, _ = ask(gemini("fault:imaginary"), gemini("default:quota"), gemini("fault:quotas"))
    assert [answer[0] for answer in answers] == [200, 200, 200]


def test_past_the_quota_calls_are_refused_with_the_time_to_wait():
    answers, counts = ask(
        *[gemini(f"x {n}") for n in range(5)],
        quota_per_minute=60.0,
        retry_after_s=2.0,
        canned_bytes=500,
    )
    assert [answer[0] for answer in answers] == [200, 429, 429, 429, 429]
    assert answers[1][2]["Retry-After"] == "2"
    assert counts.refused_for_quota == 4


def test_rates_make_that_share_of_calls_fail():
    answers, _ = ask(
        *[gemini(f"x {n}") for n in range(400)], unavailable_rate=0.25, canned_bytes=500
    )
    failed = sum(answer[0] == 503 for answer in answers)
    assert 60 < failed < 140


def test_a_model_that_was_shut_down_answers_404():
    path = "/v1/projects/p/locations/us-central1/publishers/google/models/imagen-4.0-generate-001"
    answers, _ = ask(
        (GEMINI.format("gemini-1.0"), gemini("x")[1]), (f"{path}:predict", predict("x")[1])
    )
    assert [answer[0] for answer in answers] == [404, 404]


def test_a_call_without_credentials_answers_401():
    async def run():
        async with (
            TestClient(TestServer(vertex_app(Behaviour()))) as client,
            client.post(gemini("x")[0], json=gemini("x")[1]) as response,
        ):
            return response.status

    assert asyncio.run(run()) == 401


def test_a_seed_with_the_watermark_on_is_refused():
    answers, _ = ask(
        predict("x", seed=1), predict("x", seed=1, addWatermark=False, sampleImageSize="1K")
    )
    assert [answer[0] for answer in answers] == [400, 200]


@pytest.mark.parametrize("body", [{}, {"contents": "x"}, {"instances": []}])
def test_a_malformed_request_answers_400(body):
    answers, _ = ask((gemini("x")[0], body), (PREDICT, body))
    assert [answer[0] for answer in answers] == [400, 400]


def test_settings_change_while_it_runs_and_wrong_ones_are_refused():
    async def run():
        async with TestClient(TestServer(vertex_app(Behaviour()))) as client:
            good = await client.patch("/localcloud", json={"latency_s": 2})
            bad = await client.patch("/localcloud", json={"latencys": 2})
            return await good.json(), bad.status, await bad.json()

    good, status, bad = asyncio.run(run())
    assert good["settings"]["latency_s"] == 2.0
    assert status == 400
    assert "unknown setting 'latencys'" in bad["error"]["message"]


def test_held_calls_are_answered_when_hold_is_unset():
    async def run():
        behaviour = Behaviour(Settings(latency_s=0.0, canned_bytes=500, hold=True))
        async with TestClient(TestServer(vertex_app(behaviour))) as client:
            path, body = gemini("x")
            call = asyncio.create_task(client.post(path, json=body, headers=TOKEN))
            while not (behaviour.counts.in_flight or call.done()):
                await asyncio.wait([call], timeout=0.01)
            done, _ = await asyncio.wait([call], timeout=0.2)
            assert not done
            assert behaviour.counts.in_flight == 1
            await client.patch("/localcloud", json={"hold": False})
            return (await call).status

    assert asyncio.run(run()) == 200


def test_a_cut_connection_is_cut():
    async def run():
        async with TestClient(TestServer(vertex_app(Behaviour(Settings(latency_s=0.0))))) as client:
            path, body = gemini("fault:cut")
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.post(path, json=body, headers=TOKEN)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        ("cancelled", 499, "CANCELLED"),
        ("aborted", 409, "ABORTED"),
        ("not-enabled", 400, "FAILED_PRECONDITION"),
    ],
)
def test_an_error_under_load_or_of_the_project_has_its_status(fault, status, name):
    answers, counts = ask(gemini(f"x fault:{fault}"), predict(f"x fault:{fault}"))
    told = [(code, body["error"]["status"]) for code, body, _ in answers]
    assert told == [(status, name)] * 2
    assert counts.images == 0


def test_a_garbled_refusal_says_that_it_is_json_and_is_not():
    async def run():
        async with TestClient(TestServer(vertex_app(Behaviour(Settings(latency_s=0.0))))) as client:
            path, body = gemini("fault:quota-garbled")
            async with client.post(path, json=body, headers=TOKEN) as answer:
                with pytest.raises(ValueError, match="Expecting property name"):
                    await answer.json()
                return answer.status, answer.content_type

    assert asyncio.run(run()) == (429, "application/json")


def test_drafts_come_before_the_final_image_and_a_thought_may_be_the_only_one():
    answers, counts = ask(gemini("x fault:drafts"), gemini("x fault:thought-image"))
    drafts, thought = (body["candidates"][0]["content"]["parts"] for _, body, _ in answers)
    assert len(drafts) == 2
    assert (
        picture(drafts[0]["inlineData"]["data"]).size
        < picture(drafts[1]["inlineData"]["data"]).size
    )
    assert [part["thought"] for part in thought] == [True]
    assert counts.images == 2


def test_a_cut_image_is_the_beginning_of_one_and_the_url_safe_one_is_whole():
    answers, _ = ask(gemini("x fault:cut-image"), gemini("x fault:url-safe"))
    cut, whole = (
        body["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] for _, body, _ in answers
    )
    with pytest.raises(OSError, match=r"(?i)truncated"):
        picture(cut).load()
    assert "-" in whole or "_" in whole
    padded = base64.urlsafe_b64decode(whole + "=" * (-len(whole) % 4))
    Image.open(io.BytesIO(padded)).load()


# Containers


def test_flux_takes_text_and_answers_one_output_per_instance():
    parameters = {"width": 1024, "height": 576, "sampleCount": 4}
    good = (PREDICT, {"instances": [{"text": "A fox"}], "parameters": parameters})
    answers, counts = ask(good, predict("A fox"), flux=True)
    (prediction,) = answers[0][1]["predictions"]
    assert picture(prediction["output"]).size == (1024, 576)
    assert (answers[1][0], counts.images) == (400, 1)


def test_stable_diffusion_answers_plain_base64():
    answers, counts = ask(predict("A fox", sampleCount=4), stable_diffusion=True)
    (prediction,) = answers[0][1]["predictions"]
    assert picture(prediction).size == (1024, 1024)
    assert counts.images == 1


def test_imagen_takes_whole_numbers_only():
    answers, _ = ask(predict("A fox", sampleCount=2.0), predict("A fox", sampleCount="2"))
    assert [answer[0] for answer in answers] == [400, 400]


def test_a_dedicated_endpoint_is_served_at_its_own_host_alone():
    async def run():
        behaviour = Behaviour(Settings(latency_s=0.0, canned_bytes=500, dedicated=True))
        async with TestClient(TestServer(vertex_app(behaviour))) as client:
            path, body = predict("x")
            resource = path.removesuffix(":predict")
            async with client.get(resource, headers=TOKEN) as answer:
                host = (await answer.json())["dedicatedEndpointDns"]
            async with client.post(path, json=body, headers=TOKEN) as answer:
                shared = answer.status, await answer.json()
            async with client.post(path, json=body, headers={**TOKEN, "Host": host}) as answer:
                return shared, answer.status, host

    (status, body), own, host = asyncio.run(run())
    assert (status, own) == (400, 200)
    assert body["error"]["status"] == "FAILED_PRECONDITION"
    assert host in body["error"]["message"]
