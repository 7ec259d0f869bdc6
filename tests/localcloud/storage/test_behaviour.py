"""What a user of google-cloud-storage relies on, as this client sees it."""

import base64
import gzip
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage

AWKWARD_NAMES = [
    "a/b/c.png",
    "with space and + plus & ? # %.png",
    "%2e%2e%2fescaped",
    "../../../etc/passwd",
    "a/../../b",
    "/leading",
    "trailing/",
    "//double",
    "naïve/画像/🎨.png",
    "back\\slash",
    "quote'\"; DROP TABLE objects; --",
    "nul\0byte",
    "x" * 1024,
]


def test_what_is_uploaded_comes_back_with_its_metadata(bucket):
    data = os.urandom(300_000)
    blob = bucket.blob("images/ab/one.png")
    blob.metadata = {"prompt_id": "p-1"}
    blob.cache_control = "no-store"
    blob.upload_from_string(data, content_type="image/png")

    found = bucket.get_blob("images/ab/one.png")
    assert found.download_as_bytes() == data
    assert (found.size, found.content_type) == (300_000, "image/png")
    assert (found.metadata, found.cache_control) == ({"prompt_id": "p-1"}, "no-store")
    assert found.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    crc = google_crc32c.value(data).to_bytes(4, "big")
    assert found.crc32c == base64.b64encode(crc).decode()
    assert (found.generation, found.metageneration) == (blob.generation, 1)
    assert found.time_created == found.updated
    assert found.storage_class == "STANDARD"
    assert found.etag


@pytest.mark.parametrize("name", AWKWARD_NAMES, ids=lambda name: ascii(name[:20]))
def test_any_name_is_only_a_name(bucket, tmp_path, name):
    before = set(tmp_path.rglob("*"))
    bucket.blob(name).upload_from_string(b"content of " + name.encode())

    assert [blob.name for blob in bucket.list_blobs()] == [name]
    assert bucket.get_blob(name).download_as_bytes() == b"content of " + name.encode()
    new = set(tmp_path.rglob("*")) - before
    assert all(path.parent.parent == tmp_path / "state" / "contents" for path in new), new
    bucket.delete_blob(name)
    assert list(bucket.list_blobs()) == []


@pytest.mark.parametrize("name", ["x" * 1025, "é" * 513, "line\nbreak", ".."])
def test_a_name_that_the_service_would_refuse_is_refused(bucket, name):
    with pytest.raises(exceptions.BadRequest, match="object"):
        # As a resumable upload, whose name travels in the body: `..` in a path never arrives.
        bucket.blob(name, chunk_size=262144).upload_from_string(b"")


def test_an_empty_object_is_an_object(bucket):
    bucket.blob("empty").upload_from_string(b"")
    assert bucket.get_blob("empty").size == 0
    assert bucket.blob("empty").download_as_bytes() == b""


def test_missing_things_are_named_as_the_service_names_them(client, bucket):
    assert bucket.get_blob("nope") is None
    assert not bucket.blob("nope").exists()
    assert client.lookup_bucket("no-such-bucket") is None
    with pytest.raises(exceptions.NotFound, match="No such object: pictures/nope"):
        bucket.blob("nope").download_as_bytes()
    with pytest.raises(exceptions.NotFound, match="No such object: pictures/nope"):
        bucket.delete_blob("nope")
    with pytest.raises(exceptions.NotFound, match="No such object: pictures/nope"):
        bucket.blob("nope").reload()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.bucket("no-such-bucket").blob("a").upload_from_string(b"")
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        list(client.bucket("no-such-bucket").list_blobs())


class TestBuckets:
    def test_a_bucket_keeps_what_it_is_given(self, client):
        bucket = client.bucket("new-bucket")
        bucket.labels = {"team": "images"}
        bucket.add_lifecycle_delete_rule(age=30)
        bucket.storage_class = "NEARLINE"
        client.create_bucket(bucket, location="europe-west4")

        found = client.get_bucket("new-bucket")
        assert (found.labels, found.storage_class) == ({"team": "images"}, "NEARLINE")
        assert found.location == "europe-west4"
        assert [dict(rule) for rule in found.lifecycle_rules] == [
            {"action": {"type": "Delete"}, "condition": {"age": 30}}
        ]

    def test_labels_are_patched_one_by_one(self, client):
        bucket = client.create_bucket("new-bucket")
        bucket.labels = {"a": "1", "b": "2"}
        bucket.patch()
        bucket.labels = {"b": "3"}
        bucket.patch()
        found = client.get_bucket("new-bucket")
        assert found.labels == {"b": "3"}
        assert found.metageneration == 3
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.patch(if_metageneration_match=2)

    def test_buckets_are_listed_by_prefix_and_page(self, client):
        for number in range(5):
            client.create_bucket(f"page-{number}")
        names = [bucket.name for bucket in client.list_buckets(prefix="page-", page_size=2)]
        assert names == [f"page-{number}" for number in range(5)]
        assert len(list(client.list_buckets())) == 6

    def test_creating_a_bucket_twice_is_a_conflict(self, client):
        with pytest.raises(exceptions.Conflict, match="you already own it"):
            client.create_bucket("pictures")

    @pytest.mark.parametrize("name", ["Upper", "ab", "a b", "a..b", "x" * 64])
    def test_a_bad_bucket_name_is_refused(self, client, name):
        with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
            client.create_bucket(name)

    def test_only_an_empty_bucket_can_be_deleted(self, client, bucket):
        bucket.blob("a").upload_from_string(b"")
        with pytest.raises(exceptions.Conflict, match="not empty"):
            bucket.delete()
        bucket.delete_blob("a")
        bucket.delete()
        assert client.lookup_bucket("pictures") is None


class TestPreconditions:
    def test_generation_zero_only_creates_new_objects(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"first", if_generation_match=0)
        for chunk_size in (None, 262144):
            with pytest.raises(exceptions.PreconditionFailed, match="pre-conditions"):
                bucket.blob("a", chunk_size=chunk_size).upload_from_string(
                    b"second", if_generation_match=0
                )
        assert bucket.blob("a").download_as_bytes() == b"first"

    def test_a_412_says_so_in_the_services_words(self, server, bucket):
        bucket.blob("a").upload_from_string(b"")
        answer = requests.post(
            f"{server.url}/upload/storage/v1/b/pictures/o",
            params={"uploadType": "media", "name": "a", "ifGenerationMatch": "0"},
            data=b"x",
            timeout=60,
        )
        assert answer.status_code == 412
        (error,) = answer.json()["error"]["errors"]
        assert (error["reason"], error["location"]) == ("conditionNotMet", "If-Match")

    def test_a_generation_replaces_itself_once(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"1")
        first = blob.generation
        blob.upload_from_string(b"2", if_generation_match=first)
        assert blob.generation > first
        with pytest.raises(exceptions.PreconditionFailed):
            blob.upload_from_string(b"3", if_generation_match=first)
        assert blob.download_as_bytes() == b"2"

    def test_of_fifty_writers_exactly_one_wins(self, client, bucket):
        def write(writer: int) -> int | None:
            try:
                bucket.blob("one").upload_from_string(f"{writer}" * 1000, if_generation_match=0)
            except exceptions.PreconditionFailed:
                return None
            return writer

        with ThreadPoolExecutor(50) as pool:
            winners = [w for w in pool.map(write, range(50)) if w is not None]
        assert len(winners) == 1
        assert bucket.blob("one").download_as_text() == f"{winners[0]}" * 1000

    def test_reads_are_guarded_too(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"1")
        other = blob.generation - 1
        with pytest.raises(exceptions.PreconditionFailed):
            blob.reload(if_generation_match=other)
        with pytest.raises(exceptions.PreconditionFailed):
            blob.download_as_bytes(if_generation_match=other)
        with pytest.raises(exceptions.PreconditionFailed):
            blob.reload(if_metageneration_match=7)
        with pytest.raises(exceptions.NotModified):
            blob.reload(if_generation_not_match=blob.generation)
        with pytest.raises(exceptions.NotModified):
            blob.download_as_bytes(if_metageneration_not_match=1)
        assert blob.download_as_bytes(if_generation_match=blob.generation) == b"1"

    def test_changes_and_deletes_are_guarded_too(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"1")
        blob.metadata = {"k": "v"}
        with pytest.raises(exceptions.PreconditionFailed):
            blob.patch(if_metageneration_match=9)
        blob.patch(if_metageneration_match=1)
        assert blob.metageneration == 2
        with pytest.raises(exceptions.PreconditionFailed):
            blob.delete(if_generation_match=blob.generation - 1)
        with pytest.raises(exceptions.PreconditionFailed):
            blob.delete(if_generation_not_match=blob.generation)
        blob.delete(if_generation_match=blob.generation)

    def test_copies_are_guarded_at_both_ends(self, bucket):
        source = bucket.blob("source")
        source.upload_from_string(b"1")
        bucket.blob("taken").upload_from_string(b"2")
        wrong = source.generation - 1
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.copy_blob(source, bucket, "new", if_source_generation_match=wrong)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.copy_blob(source, bucket, "taken", if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("taken").rewrite(source, if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("taken").compose([source], if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("new").compose([source], if_source_generation_match=[wrong])
        assert bucket.blob("taken").download_as_bytes() == b"2"
        assert not bucket.blob("new").exists()

    def test_a_condition_that_is_not_a_number_is_a_bad_request(self, server, bucket):
        url = f"{server.url}/storage/v1/b/pictures/o/a?ifGenerationMatch=yes"
        answer = requests.get(url, timeout=60)
        assert answer.status_code == 400
        assert "ifGenerationMatch" in answer.json()["error"]["message"]


class TestReads:
    def test_ranges(self, bucket):
        data = os.urandom(600_000)
        blob = bucket.blob("a")
        blob.upload_from_string(data)
        assert blob.download_as_bytes(start=0, end=0) == data[:1]
        assert blob.download_as_bytes(start=10, end=400_000) == data[10:400_001]
        assert blob.download_as_bytes(start=599_990) == data[-10:]
        assert blob.download_as_bytes(start=-10) == data[-10:]
        assert blob.download_as_bytes(start=599_999, end=10**9) == data[-1:]
        with pytest.raises(exceptions.RequestRangeNotSatisfiable):
            blob.download_as_bytes(start=600_000)

    def test_a_file_object_seeks(self, bucket):
        data = os.urandom(1_000_000)
        bucket.blob("a").upload_from_string(data)
        with bucket.blob("a").open("rb", chunk_size=262144) as file:
            file.seek(500_000)
            assert file.read(100) == data[500_000:500_100]
            file.seek(0)
            assert file.read() == data

    def test_a_generation_that_was_replaced_is_gone(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"1")
        old = blob.generation
        blob.upload_from_string(b"2")
        with pytest.raises(exceptions.NotFound):
            bucket.blob("a", generation=old).download_as_bytes()
        assert bucket.blob("a", generation=blob.generation).download_as_bytes() == b"2"

    def test_gzip_content_is_decompressed_for_clients_that_do_not_accept_gzip(self, server, bucket):
        text = b"prompt\n" * 200_000
        blob = bucket.blob("a.txt")
        blob.content_encoding = "gzip"
        blob.upload_from_string(gzip.compress(text), content_type="text/plain")
        assert blob.download_as_bytes() == text
        assert gzip.decompress(blob.download_as_bytes(raw_download=True)) == text

        url = f"{server.url}/download/storage/v1/b/pictures/o/a.txt?alt=media"
        plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=60)
        assert plain.content == text
        assert "Content-Encoding" not in plain.headers
        assert plain.headers["X-Goog-Stored-Content-Encoding"] == "gzip"

    def test_a_browser_can_open_an_image_by_its_public_link(self, server, bucket):
        bucket.blob("images/a b.png").upload_from_string(b"png", content_type="image/png")
        answer = requests.get(f"{server.url}/pictures/images/a%20b.png", timeout=60)
        assert (answer.content, answer.headers["Content-Type"]) == (b"png", "image/png")
        assert requests.get(bucket.blob("images/a b.png").public_url, timeout=60).content == b"png"
        again = {"If-None-Match": answer.headers["ETag"]}
        url = f"{server.url}/pictures/images/a%20b.png"
        assert requests.get(url, headers=again, timeout=60).status_code == 304
        assert requests.head(url, timeout=60).headers["Content-Length"] == "3"
        assert requests.get(f"{server.url}/pictures/nope", timeout=60).status_code == 404


class TestIntegrity:
    @pytest.mark.parametrize("field", ["crc32c", "md5Hash"])
    def test_content_that_differs_from_its_checksum_is_refused(self, server, bucket, field):
        blob = bucket.blob("a")
        blob._properties[field] = "AAAAAA=="
        blob._changes.add(field)
        with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
            blob.upload_from_string(b"data", checksum=None)
        assert not bucket.blob("a").exists()

    def test_the_hash_header_is_checked_as_well(self, server, bucket):
        for header in ("crc32c=AAAAAA==", "md5=AAAA"):
            answer = requests.post(
                f"{server.url}/upload/storage/v1/b/pictures/o?uploadType=media&name=a",
                data=b"data",
                headers={"X-Goog-Hash": header},
                timeout=60,
            )
            assert answer.status_code == 400
        assert not bucket.blob("a").exists()

    def test_clients_can_check_what_they_download(self, bucket):
        bucket.blob("a").upload_from_string(os.urandom(1000), checksum="md5")
        for checksum in ("md5", "crc32c"):
            bucket.blob("a").download_as_bytes(checksum=checksum)


class TestMetadata:
    def test_a_patch_changes_what_it_names(self, bucket):
        blob = bucket.blob("a")
        blob.metadata = {"keep": "1", "drop": "2"}
        blob.upload_from_string(b"", content_type="text/plain")
        blob.metadata = {"drop": None, "new": "3"}
        blob.cache_control = "no-cache"
        blob.patch()
        found = bucket.get_blob("a")
        assert found.metadata == {"keep": "1", "new": "3"}
        assert (found.cache_control, found.content_type) == ("no-cache", "text/plain")
        assert (found.generation, found.metageneration) == (blob.generation, 2)
        assert found.updated >= found.time_created

    def test_an_update_replaces_everything(self, bucket):
        blob = bucket.blob("a")
        blob.cache_control = "no-cache"
        blob.upload_from_string(b"", content_type="text/plain")
        blob.cache_control = None
        blob.update()
        assert bucket.get_blob("a").cache_control is None

    @pytest.mark.parametrize(
        ("metadata", "fits"),
        [
            ({"n" * 1024: "v" * 4096}, True),
            ({"n" * 1025: "v"}, False),
            ({"n": "v" * 4097}, False),
            ({"n": "é" * 2048}, True),
            ({"n": "é" * 2049}, False),
            ({"a": "v" * 4095, "b": "v" * 4095}, True),
            ({"a": "v" * 4095, "b": "v" * 4096}, False),
        ],
        ids=["most", "name", "value", "letters", "bytes", "all", "above all"],
    )
    def test_custom_metadata_has_the_limits_of_the_service(self, bucket, metadata, fits):
        blob = bucket.blob("a")
        blob.metadata = metadata
        if not fits:
            with pytest.raises(exceptions.BadRequest, match="The metadata"):
                blob.upload_from_string(b"")
            return
        blob.upload_from_string(b"")
        assert bucket.get_blob("a").metadata == metadata
        assert [found.metadata for found in bucket.list_blobs()] == [metadata]

    def test_custom_metadata_are_headers_of_a_download_by_the_xml_api(self, server, bucket):
        blob = bucket.blob("a")
        blob.metadata = {"prompt-id": "p-1", "Model": "m", "lines": "a\r\nX-Forged: 1", "ä": "b"}
        blob.upload_from_string(b"")
        headers = requests.get(f"{server.url}/pictures/a", timeout=60).headers
        assert headers["x-goog-meta-prompt-id"] == "p-1"
        assert headers["X-Goog-Meta-Model"] == "m"
        assert [name for name in headers if "forged" in name.lower()] == []
        json_api = requests.get(f"{server.url}/storage/v1/b/pictures/o/a?alt=media", timeout=60)
        assert [name for name in json_api.headers if "-meta-" in name.lower()] == []

    def test_metadata_cannot_forge_headers(self, bucket):
        blob = bucket.blob("a")
        blob.content_disposition = "inline\r\nX-Forged: 1"
        with pytest.raises(exceptions.BadRequest, match="contentDisposition"):
            blob.upload_from_string(b"")


class TestCopies:
    def test_a_copy_is_independent_of_its_source(self, client, bucket):
        other = client.create_bucket("other")
        blob = bucket.blob("a/1")
        blob.metadata = {"k": "v"}
        blob.upload_from_string(b"one", content_type="text/plain")
        copy = bucket.copy_blob(blob, other, "b/1")
        blob.upload_from_string(b"two")
        assert other.blob("b/1").download_as_bytes() == b"one"
        assert (copy.content_type, copy.metadata) == ("text/plain", {"k": "v"})
        assert copy.md5_hash == base64.b64encode(hashlib.md5(b"one").digest()).decode()

    def test_a_rewrite_is_done_in_one_call(self, bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"one", content_type="text/plain")
        token, written, size = bucket.blob("b").rewrite(blob)
        assert (token, written, size) == (None, 3, 3)
        assert bucket.get_blob("b").content_type == "text/plain"

    def test_a_rename_moves(self, bucket):
        bucket.blob("a").upload_from_string(b"one")
        bucket.rename_blob(bucket.blob("a"), "b")
        assert [blob.name for blob in bucket.list_blobs()] == ["b"]

    def test_a_missing_source_is_not_found(self, bucket):
        with pytest.raises(exceptions.NotFound, match="No such object: pictures/nope"):
            bucket.copy_blob(bucket.blob("nope"), bucket, "b")

    def test_compose_joins_in_order(self, bucket):
        parts = []
        for number in range(3):
            parts.append(bucket.blob(f"part-{number}"))
            parts[-1].upload_from_string(str(number) * 100_000)
        whole = bucket.blob("whole")
        whole.content_type = "text/plain"
        whole.compose(parts)
        assert whole.download_as_text() == "0" * 100_000 + "1" * 100_000 + "2" * 100_000
        assert (whole.component_count, whole.md5_hash) == (3, None)
        assert whole.content_type == "text/plain"
        parts[0].compose([parts[0], whole])
        assert parts[0].component_count == 4
        assert parts[0].size == 400_000


class TestBatches:
    def test_many_calls_in_one_request(self, client, bucket):
        for number in range(20):
            bucket.blob(f"a b/{number}").upload_from_string(b"")
        with client.batch():
            for number in range(20):
                bucket.blob(f"a b/{number}").delete()
        assert list(bucket.list_blobs()) == []

    def test_each_call_has_its_own_answer(self, client, bucket):
        bucket.blob("há/1").upload_from_string(b"")
        with client.batch(raise_exception=False) as batch:
            bucket.blob("há/1").delete()
            bucket.blob("há/nope").delete()
            bucket.blob("há/1").patch(if_metageneration_match=3)
        assert [answer.status_code for answer in batch._responses] == [204, 404, 404]

    def test_metadata_can_be_patched_in_a_batch(self, client, bucket):
        blobs = [bucket.blob(f"{number}") for number in range(3)]
        for blob in blobs:
            blob.upload_from_string(b"")
        with client.batch():
            for blob in blobs:
                blob.metadata = {"who": "naïve"}
                blob.patch()
        assert [blob.metageneration for blob in blobs] == [2, 2, 2]
        assert {bucket.get_blob(blob.name).metadata["who"] for blob in blobs} == {"naïve"}

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [("text/plain", b"x"), ("multipart/mixed; boundary=b", b""), ("", b"")],
    )
    def test_a_malformed_batch_is_a_bad_request(self, server, content_type, body):
        answer = requests.post(
            f"{server.url}/batch/storage/v1",
            data=body,
            headers={"Content-Type": content_type},
            timeout=60,
        )
        assert answer.status_code == 400


def test_the_clients_transfer_manager_works(client, bucket, tmp_path):
    from google.cloud.storage import transfer_manager

    (tmp_path / "in").mkdir()
    for number in range(10):
        (tmp_path / "in" / f"{number}.bin").write_bytes(os.urandom(1000 * number))
    transfer_manager.upload_many_from_filenames(
        bucket,
        [f"{number}.bin" for number in range(10)],
        source_directory=str(tmp_path / "in"),
        worker_type=transfer_manager.THREAD,
        raise_exception=True,
    )
    assert {blob.name: blob.size for blob in bucket.list_blobs()} == {
        f"{number}.bin": 1000 * number for number in range(10)
    }
    target = tmp_path / "out.bin"
    big = bucket.blob("big")
    data = os.urandom(3_000_000)
    big.upload_from_string(data)
    transfer_manager.download_chunks_concurrently(
        big, str(target), chunk_size=1_000_000, worker_type=transfer_manager.THREAD
    )
    assert target.read_bytes() == data


def test_unsupported_methods_say_so(server, client, bucket):
    with pytest.raises(exceptions.NotFound, match="does not answer"):
        storage.Bucket(client, "pictures").get_iam_policy()
    assert "does not answer" in requests.get(f"{server.url}/nowhere", timeout=60).text
