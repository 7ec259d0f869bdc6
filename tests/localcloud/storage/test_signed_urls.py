"""Signed URLs as Google's client makes them, and what of one can't be changed."""

import datetime
import re

import pytest
import requests
from google.auth.credentials import Signing

from localcloud.iamcredentials import SigningKey
from localcloud.storage import ObjectStore, storage_app
from tests.localcloud.storage.conftest import ServerThread

ACCOUNT = "signer@demo-project.iam.gserviceaccount.com"


class Signer(Signing):
    """A service account with a key of its own."""

    def __init__(self, key):
        self._key = key

    def sign_bytes(self, message):
        return self._key.sign(message)

    signer_email = ACCOUNT
    signer = None


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """Return a function that signs a URL of an object, for a server that checks it."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    key = SigningKey(tmp_path / "key.pem")
    store = ObjectStore(tmp_path / "state")
    thread = ServerThread(storage_app(store, is_signed=key.is_signed))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{thread.port}")
    store.create_bucket("pictures")
    client = storage.Client(project="p", credentials=AnonymousCredentials())

    def sign(name="a b/naïve 🎨.png", *, by=key, **options):
        blob = client.bucket("pictures").blob(name)
        blob.upload_from_string(b"picture", content_type="image/png")
        given = {"version": "v4", "expiration": datetime.timedelta(hours=1), **options}
        return blob.generate_signed_url(credentials=Signer(by), **given)

    yield sign
    thread.stop()
    store.close()


def answer_of(url, method="GET"):
    answer = requests.request(method, url, timeout=60)
    code = re.search(r"<Code>(\w+)</Code>", answer.text)
    return answer.status_code, code[1] if code else answer.content


def test_a_signed_url_serves_its_object(signed):
    assert answer_of(signed()) == (200, b"picture")
    assert answer_of(signed(response_disposition="attachment; filename=a b.png")) == (
        200,
        b"picture",
    )


@pytest.mark.parametrize(
    ("change", "to"),
    [
        (r"naive|na%C3%AFve", "other"),
        (r"X-Goog-Expires=3600", "X-Goog-Expires=7200"),
        (r"signer%40", "another%40"),
        (r"X-Goog-Signature=..", "X-Goog-Signature=00"),
        (r"X-Goog-Signature=.*", "X-Goog-Signature=zz"),
        (r"$", "&x=1"),
    ],
    ids=["object", "expiry", "account", "signature", "no signature", "more"],
)
def test_a_url_of_which_something_is_changed_is_refused(signed, change, to):
    tampered, count = re.subn(change, to, signed(), count=1)
    assert count == 1
    assert answer_of(tampered) == (403, "SignatureDoesNotMatch")


def test_a_url_for_reading_signed_by_another_key_or_used_otherwise_is_refused(signed, tmp_path):
    other = SigningKey(tmp_path / "other.pem")
    assert answer_of(signed(by=other)) == (403, "SignatureDoesNotMatch")
    assert answer_of(signed(method="PUT")) == (403, "SignatureDoesNotMatch")


def test_a_url_that_has_expired_says_so(signed, monkeypatch):
    from google.cloud.storage import _signing

    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    stamps = past.strftime("%Y%m%dT%H%M%SZ"), past.strftime("%Y%m%d")
    monkeypatch.setattr(_signing, "get_v4_now_dtstamps", lambda: stamps)
    assert answer_of(signed()) == (400, "ExpiredToken")


@pytest.mark.parametrize(
    ("part", "to"),
    [
        (r"X-Goog-Expires=\d+", "X-Goog-Expires=604801"),
        (r"X-Goog-Date=\w+", "X-Goog-Date=now"),
        (r"GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"),
        (r"X-Goog-SignedHeaders=host&", ""),
    ],
)
def test_a_url_that_is_malformed_says_so(signed, part, to):
    assert answer_of(re.sub(part, to, signed())) == (400, "MalformedSecurityHeader")
