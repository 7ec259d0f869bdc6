"""Object names, concurrent writers, and which storage errors are transient."""

import asyncio
import json

import pytest
from aiohttp import web

from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.requests import StoreError
from beam_jobs.images.store import Found, ImageStore, Kept
from beam_jobs.models.base import Image
from beam_jobs.outcomes import Work

PNG = Image(b"\x89PNG\r\n\x1a\npicture", "png", "image/png")
OTHER = Image(b"\x89PNG\r\n\x1a\nanother", "png", "image/png")
# Larger than what the client sends in one request by default.
LARGE = Image(PNG.data + bytes(6_000_000), "png", "image/png")
JPEG = Image(b"\xff\xd8\xffpicture", "jpg", "image/jpeg")
NOW = "2026-11-01T00:00:00.000+00:00"
PAID = Receipt(
    "ab" * 16, Work(cost_usd=0.0672, input_tokens=9, image_tokens=1120, tier="standard"), "stream"
)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("gs://bucket-1/images", "bucket-1", "images/"),
        ("gs://bucket-1/images/", "bucket-1", "images/"),
        ("gs://bucket-1//a/b//", "bucket-1", "a/b/"),
        ("gs://bucket-1", "bucket-1", ""),
        ("gs://bucket-1/", "bucket-1", ""),
        ("gs://example.com/ä b", "example.com", "ä b/"),
    ],
)
def test_a_location_is_a_bucket_and_a_folder(url, bucket, prefix):
    assert Location.parse(url) == Location(bucket, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket/images",
        "/tmp/images",
        "s3://bucket/images",
        "gs://",
        "gs://B/images",
        "gs://bucket/*",
        "gs://bucket/a?b",
        "gs://bucket/a\nb",
        "gs://bucket#1/a",
    ],
)
def test_an_invalid_location_is_refused_and_quoted(url):
    with pytest.raises(ValueError, match="expected gs://<bucket>/<folder>, got "):
        Location.parse(url)


def test_paths_name_the_bucket_and_the_object():
    assert Location.parse("gs://bucket-1/a").url("a/b.png") == "gs://bucket-1/a/b.png"


def put_record(store, prompt, images):
    return store.put_record(
        prompt.digest, images, deciding=prompt.deciding, created_at=NOW, receipt=PAID
    )


@pytest.fixture
def store(lane, session):
    return ImageStore(session, Location.parse(lane.images_location))


@pytest.fixture
def fox(prompt_of):
    return prompt_of("a fox", images=2, seed=7)


@pytest.mark.asyncio
async def test_names_are_decided_by_digest_index_and_kind(store, lane, fox):
    digest = fox.digest
    paths = [await store.put_image(digest, 0, PNG), await store.put_image(digest, 1, JPEG)]
    assert (await put_record(store, fox, paths))["images"] == paths
    folder = f"{lane.images_location}/{digest[:2]}/{digest}"
    assert paths == [f"{folder}-0.png", f"{folder}-1.jpg"]
    stored = lane.objects("images/")
    name = f"images/{digest[:2]}/{digest}"
    assert {key: value for key, value in stored.items() if not key.endswith(".json")} == {
        f"{name}-0.png": PNG.data,
        f"{name}-1.jpg": JPEG.data,
    }
    assert json.loads(stored[f"{name}.json"]) == {
        "schema": "imagen.record/1",
        "digest": digest,
        "prompt": "a fox",
        "model": "gemini-3.1-flash-image",
        "images": paths,
        "aspect_ratio": None,
        "image_size": None,
        "seed": 7,
        "negative_prompt": None,
        "system_instruction": None,
        "thinking_level": None,
        "person_generation": None,
        "output_format": None,
        "output_quality": None,
        "references": None,
        "created_at": NOW,
        "paid_by": "ab" * 16,
        "source": "stream",
        "cost_usd": 0.0672,
        "unpriced_calls": 0,
        "tokens": {"input": 9, "text": 0, "image": 1120},
        "tier": "standard",
    }


@pytest.mark.asyncio
async def test_objects_have_the_type_that_a_browser_needs(store, lane, fox):
    path = await store.put_image(fox.digest, 0, JPEG)
    await put_record(store, fox, [path])
    bucket = path.split("/")[2]
    types = {
        blob.name.rpartition(".")[2]: blob.content_type
        for blob in lane.storage.list_blobs(bucket, prefix=f"{lane.name}/")
    }
    assert types == {"jpg": "image/jpeg", "json": "application/json"}


@pytest.mark.asyncio
async def test_the_first_writer_of_an_image_wins(store, lane, fox):
    first = await store.put_image(fox.digest, 0, PNG)
    assert await store.put_image(fox.digest, 0, OTHER) == first
    assert await store.put_image(fox.digest, 0, LARGE) == first
    assert list(lane.objects("images/").values()) == [PNG.data]


@pytest.mark.asyncio
async def test_who_offers_an_image_learns_whether_the_one_there_is_the_same(store, lane, fox):
    kept = [await store.offer_image(fox.digest, 0, image) for image in (PNG, PNG, OTHER, LARGE)]
    assert [what for _, what in kept] == [Kept.NEW, Kept.SAME, Kept.OTHER, Kept.OTHER]
    assert len({path for path, _ in kept}) == 1
    assert list(lane.objects("images/").values()) == [PNG.data]


@pytest.mark.asyncio
async def test_concurrent_writers_of_a_record_all_get_the_paths_of_the_stored_one(store, lane, fox):
    offered = [[f"{lane.images_location}/x-{number}.png"] for number in range(10)]
    given = await asyncio.gather(*(put_record(store, fox, paths) for paths in offered))
    (kept,) = lane.objects("images/").values()
    assert json.loads(kept)["images"] in offered
    assert given == [json.loads(kept)] * 10


@pytest.mark.asyncio
async def test_an_unknown_digest_has_no_record_and_no_images(store, fox):
    assert await store.find(fox.digest) == Found(record=None, images={})


@pytest.mark.asyncio
async def test_a_half_finished_set_is_found_without_a_record(store, fox):
    path = await store.put_image(fox.digest, 1, JPEG)
    assert await store.find(fox.digest) == Found(record=None, images={1: path})


@pytest.mark.asyncio
async def test_a_whole_set_is_found_with_its_record(store, fox):
    paths = [await store.put_image(fox.digest, index, PNG) for index in range(2)]
    await put_record(store, fox, paths)
    found = await store.find(fox.digest)
    assert found.images == dict(enumerate(paths))
    assert found.record is not None
    assert (found.record["images"], found.record["prompt"]) == (paths, "a fox")


@pytest.mark.asyncio
async def test_a_record_of_an_image_that_was_deleted_is_named_until_it_is_deleted_too(
    store, lane, fox
):
    paths = [await store.put_image(fox.digest, index, PNG) for index in range(2)]
    record = f"{lane.images_location}/{fox.digest[:2]}/{fox.digest}.json"
    await put_record(store, fox, paths)
    lane.delete(paths[1])
    with pytest.raises(StoreError) as caught:
        await store.find(fox.digest)
    assert f"{paths[1]} was deleted, but {record} still names it" in str(caught.value)
    assert not caught.value.transient
    lane.delete(record)
    assert await store.find(fox.digest) == Found(record=None, images={0: paths[0]})


@pytest.mark.asyncio
async def test_foreign_files_beside_the_images_are_ignored(store, lane, fox, prompt_of):
    digest = fox.digest
    folder = f"images/{digest[:2]}"
    for name in (
        f"{digest}-0.png.bak",
        f"{digest}-00.png",
        f"{digest}-a.png",
        f"{digest}.json.old",
        f"{digest}.txt",
        f"{digest}/0.png",
        f"{digest}x-0.png",
        "readme.txt",
    ):
        lane.put(f"{folder}/{name}", "not ours")
    await store.put_image(prompt_of("an owl").digest, 0, PNG)
    assert await store.find(digest) == Found(record=None, images={})


@pytest.mark.asyncio
async def test_a_location_may_be_a_whole_bucket(session, lane, fox):
    lane.storage.create_bucket(f"{lane.name}-whole")
    store = ImageStore(session, Location.parse(f"gs://{lane.name}-whole"))
    path = await store.put_image(fox.digest, 0, PNG)
    assert path == f"gs://{lane.name}-whole/{fox.digest[:2]}/{fox.digest}-0.png"
    assert (await store.find(fox.digest)).images == {0: path}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a record"),
        (b"{", "is not a record"),
        (b"\xff", "is not a record"),
        (b"[]", "is not a record"),
        (b"{}", "is not a record"),
        (b"null", "is not a record"),
        (b'{"images": "gs://x"}', "is a record without image paths"),
        (b'{"images": [1]}', "is a record without image paths"),
        (b'{"images": null}', "is a record without image paths"),
    ],
)
async def test_a_broken_record_is_named_and_its_images_are_not_paid_for_again(
    store, lane, fox, content, says
):
    path = lane.put(f"images/{fox.digest[:2]}/{fox.digest}.json", content)
    with pytest.raises(StoreError, match=says) as caught:
        await store.find(fox.digest)
    assert path in str(caught.value)
    assert not caught.value.transient
    with pytest.raises(StoreError, match=says):
        await put_record(store, fox, ["gs://x"])


@pytest.mark.asyncio
async def test_a_missing_bucket_is_named_and_transient_only_for_paid_images(cloud, session, fox):
    store = ImageStore(session, Location.parse("gs://no-such-bucket/images"))
    for attempt, transient in (
        (store.find(fox.digest), False),
        (store.put_image(fox.digest, 0, PNG), True),
        (put_record(store, fox, []), True),
    ):
        with pytest.raises(StoreError, match="404 for gs://no-such-bucket") as caught:
            await attempt
        assert caught.value.transient is transient


@pytest.mark.asyncio
async def test_a_storage_outage_is_transient(session, monkeypatch, fox):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    for attempt in (store.find(fox.digest), store.put_image(fox.digest, 0, PNG)):
        with pytest.raises(StoreError, match="storage cannot be reached") as caught:
            await attempt
        assert caught.value.transient


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "to_look", "to_store"),
    [
        # What is wrong with the bucket may be mended while a paid image waits.
        (400, False, True),
        (401, False, True),
        (403, False, True),
        (404, False, True),
        # Nothing helps this object.
        (413, False, False),
        (408, True, True),
        (409, True, True),
        (429, True, True),
        (500, True, True),
        (503, True, True),
    ],
)
@pytest.mark.parametrize("picture", [PNG, LARGE], ids=["small", "large"])
async def test_an_error_says_whether_a_retry_may_help(
    session, serve, monkeypatch, fox, picture, status, to_look, to_store
):
    requests = []

    async def refuse(request):
        requests.append(request.method)
        return web.json_response({}, status=status, headers={"Retry-After": "4"})

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(refuse))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    for attempt, transient in (
        (store.find(fox.digest), to_look),
        (store.put_image(fox.digest, 0, picture), to_store),
    ):
        with pytest.raises(StoreError, match=f"storage answered {status}") as caught:
            await attempt
        assert caught.value.transient is transient
        assert caught.value.retry_after_s == 4.0
    assert requests == ["GET", "POST"], "there is a hidden retry layer"


@pytest.mark.asyncio
async def test_a_broken_connection_is_transient(session, serve, monkeypatch, fox):
    async def hang_up(request):
        request.transport.close()
        return web.Response()

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(hang_up))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    with pytest.raises(StoreError, match="storage cannot be reached") as caught:
        await store.find(fox.digest)
    assert caught.value.transient


def refusing(status, reason, message="told why", *, there=False):
    """Refuse to create objects; say of each whether it is there."""

    async def handler(request):
        if request.method == "GET":
            found = {"name": request.path.partition("/o/")[2]} if there else {}
            return web.json_response(found, status=200 if there else 404)
        error = {"code": status, "message": message, "errors": [{"reason": reason}]}
        return web.json_response({"error": error} if reason else None, status=status)

    return handler


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (412, "orgPolicyConstraintFailed", "Request violates constraint 'constraints/a'"),
        # https://github.com/googleapis/java-storage/issues/1240
        (412, "conditionNotMet", "Request violates constraint 'constraints/a'"),
        (400, "cloudKmsDisabledKey", "Cloud KMS key is disabled"),
    ],
)
async def test_a_refusal_by_the_bucket_is_not_taken_for_an_object_that_is_there(
    session, serve, monkeypatch, fox, status, reason, message
):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(refusing(status, reason, message)))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    for attempt in (store.put_image(fox.digest, 0, PNG), put_record(store, fox, [])):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.transient
        assert str(caught.value) == (
            f"storage answered {status} for gs://bucket-1: {reason}: {message}"
        )
    assert store.writes.closed


@pytest.mark.asyncio
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (412, "", ""),
        # Who may create objects and not replace them is told so.
        (403, "forbidden", "a@b does not have storage.objects.delete access to the object."),
    ],
    ids=["a bare 412", "no permission to replace"],
)
async def test_where_a_refusal_may_be_about_an_object_storage_is_asked_for_it(
    session, serve, monkeypatch, fox, there, status, reason, message
):
    storage = refusing(status, reason, message, there=there)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(storage))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    if there:
        assert await store.put_image(fox.digest, 0, PNG)
    else:
        with pytest.raises(StoreError, match=str(status)) as caught:
            await store.put_image(fox.digest, 0, PNG)
        assert caught.value.transient
    assert store.writes.closed is not there


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "text"), [(200, ""), (200, "<html>"), (304, ""), (308, ""), (204, "")]
)
async def test_an_answer_that_is_no_object_is_no_success(
    session, serve, monkeypatch, fox, status, text
):
    async def odd(_):
        return web.Response(status=status, text=text or None)

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(odd))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    for attempt in (store.find(fox.digest), store.put_image(fox.digest, 0, PNG)):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.transient
    assert store.writes.closed


def uploading(answer, *, later=None):
    """Answer an upload with `answer`, and a later look at the object with `later` or 404."""

    async def handler(request):
        if request.method == "POST":
            return web.json_response(answer)
        return web.json_response(later or {}, status=200 if later else 404)

    return handler


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"error": {"code": 503}},
        {"fault": {"faultstring": "x"}},
        {"kind": "storage#object"},
        {"name": "another", "size": str(len(PNG.data))},
        {"name": None, "size": "0"},
        [],
    ],
)
async def test_an_upload_counts_as_stored_only_if_storage_names_the_object_and_its_size(
    session, serve, monkeypatch, odd
):
    name = f"images/ab/{'ab' * 16}-0.png"
    whole = {"name": name, "size": str(len(PNG.data))}
    for answer in (odd, {"name": name}, {"name": name, "size": "0"}, {"name": name, "size": 0}):
        handler = uploading(answer)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(handler))
        store = ImageStore(session, Location.parse("gs://bucket-1/images"))
        with pytest.raises(StoreError, match="an upload without the object") as caught:
            await store.put_image("ab" * 16, 0, PNG)
        assert caught.value.transient
        assert store.writes.closed
        # A later look may show it all the same, or only a part of it.
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(uploading(answer, later=whole)))
        store = ImageStore(session, Location.parse("gs://bucket-1/images"))
        assert await store.put_image("ab" * 16, 0, PNG) == f"gs://bucket-1/{name}"
        part = {**whole, "size": "7"}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(uploading(answer, later=part)))
        store = ImageStore(session, Location.parse("gs://bucket-1/images"))
        with pytest.raises(StoreError, match="an upload without the object"):
            await store.put_image("ab" * 16, 0, PNG)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "listing",
    [
        {"error": {"code": 503, "message": "busy"}},
        {"fault": {"faultstring": "x"}},
        {"message": "busy"},
        {"items": None},
        {"items": {}},
        {"items": [{"size": "1"}]},
        {"items": [{"name": None}]},
        {"items": ["a"]},
        {"items": [], "nextPageToken": 7},
        [],
    ],
)
async def test_an_answer_that_is_no_listing_does_not_say_that_nothing_is_stored(
    session, serve, monkeypatch, fox, listing
):
    async def odd(_):
        return web.json_response(listing)

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(odd))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    with pytest.raises(StoreError, match="storage's answer ") as caught:
        await store.find(fox.digest)
    assert caught.value.transient


@pytest.mark.asyncio
@pytest.mark.parametrize("garbage", [b"SSH-2.0-x\r\n\r\n", b"\x15\x03\x01\0\2", b"HTTP/1.1 2 x"])
async def test_what_is_no_http_at_all_is_transient(session, monkeypatch, fox, garbage):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(garbage)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        store = ImageStore(session, Location.parse("gs://bucket-1/images"))
        with pytest.raises(StoreError, match="storage cannot be reached") as caught:
            await store.find(fox.digest)
    assert caught.value.transient


@pytest.mark.asyncio
async def test_a_listing_is_followed_to_its_last_page(session, serve, monkeypatch, fox):
    stem = f"images/{fox.digest[:2]}/{fox.digest}"
    pages = {
        None: {"items": [{"name": f"{stem}-0.png"}], "nextPageToken": "a"},
        # A page without items is not the last one.
        "a": {"nextPageToken": "b"},
        "b": {"items": [{"name": f"{stem}-1.png"}]},
    }

    async def listing(request):
        return web.json_response(pages[request.query.get("pageToken")])

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(listing))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"))
    assert sorted((await store.find(fox.digest)).images) == [0, 1]


@pytest.mark.asyncio
async def test_an_attempt_to_write_leaves_nothing_behind(store, lane, cloud, monkeypatch):
    monkeypatch.setattr("beam_jobs.images.write_gate.PROBE_EVERY_S", 0.01)
    cloud.storage(key_disabled=True)
    with pytest.raises(StoreError):
        await store.put_image("ab" * 16, 0, PNG)
    assert store.writes.closed
    waiting = asyncio.create_task(store.writes.wait())
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    cloud.storage(key_disabled=False)
    await asyncio.wait_for(waiting, 60)
    assert lane.objects("images/") == {}
