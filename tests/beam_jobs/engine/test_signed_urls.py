"""Signed URLs: that they work, who waits for them, and where they are not."""

import asyncio
import base64
import dataclasses
import json
import logging
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from beam_jobs.engine import signed_urls
from beam_jobs.engine.signed_urls import UrlSigner
from beam_jobs.images.recent_index import index_entry
from beam_jobs.outcomes import Prediction, encode
from tests.beam_jobs.engine import test_generate

pytestmark = pytest.mark.asyncio
generator = test_generate.generator
ACCOUNT = "imagen-worker@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def signer(cloud, session):
    return UrlSigner(session, hours=24, account=ACCOUNT)


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_a_prediction_has_a_url_for_each_image_by_which_anybody_reads_it(
    generator, lane, prompt_of, signer
):
    made = await generator(signer=signer).outcome(prompt_of("a fox", images=2))
    assert isinstance(made, Prediction)
    urls = json.loads(encode(made)[0])["signed_urls"]
    assert len(urls) == len(made.images) == 2
    for url, path in zip(urls, made.images, strict=True):
        status, content = await asyncio.to_thread(get, url)
        assert status == 200
        assert content == lane.objects()[path.partition(f"{lane.name}/")[2]]
        assert "X-Goog-Expires=86400&" in url
    tampered = urls[0].replace("-0.png", "-1.png")
    assert (await asyncio.to_thread(get, tampered))[0] == 403
    # Images that were found have URLs too.
    other = prompt_of("a fox", images=2, origin="message-2")
    again = await generator(signer=signer).outcome(other)
    assert again.reused
    assert len(again.signed_urls) == 2


async def test_the_certificate_that_iam_publishes_verifies_the_signature(cloud, signer, lane):
    path = lane.put("images/a b/ä.png", b"picture")
    (url,) = await signer.urls([path])
    split = urllib.parse.urlsplit(url)
    query, _, signature = split.query.partition("&X-Goog-Signature=")
    fields = dict(urllib.parse.parse_qsl(query))
    # https://cloud.google.com/storage/docs/authentication/canonical-requests
    canonical = f"GET\n{split.path}\n{query}\nhost:{split.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(canonical.encode())
    account, scope = fields["X-Goog-Credential"].split("/", 1)
    message = f"GOOG4-RSA-SHA256\n{fields['X-Goog-Date']}\n{scope}\n{digest.finalize().hex()}"
    certificates = get(f"{cloud.signing_url}/service_accounts/v1/metadata/x509/{account}")[1]
    (certificate,) = json.loads(certificates).values()
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    key.verify(bytes.fromhex(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert account == ACCOUNT


async def test_a_url_is_in_the_message_and_nowhere_else(generator, lane, prompt_of, signer, caplog):
    caplog.set_level(logging.DEBUG)
    made = await generator(signer=signer).outcome(prompt_of("a fox"))
    (url,) = made.signed_urls
    signature = url.rpartition("=")[2]
    assert signature in encode(made)[0].decode()
    elsewhere = [repr(made), json.dumps(index_entry(made)), str(encode(made)[1]), caplog.text]
    elsewhere += [content.decode("latin-1") for content in lane.objects().values()]
    assert [text for text in elsewhere if signature in text] == []


async def test_equal_prompts_share_a_url_and_cost_one_request(cloud, signer, lane):
    path = lane.put("images/a.png", b"")
    before = cloud.signing().get("signBlob", 0)
    urls = await asyncio.gather(*(signer.urls([path]) for _ in range(50)))
    assert len(set(urls)) == 1
    assert cloud.signing()["signBlob"] - before == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"denied": 1}, r"IAM answered 403: .*signBlob' denied.*serviceAccountTokenCreator"),
        ({"error_rate": 1.0, "error_status": 503}, "IAM answered 503"),
        ({"error_rate": 1.0, "error_status": 429}, "IAM answered 429"),
        ({"latency_s": 60.0}, "no answer within 1 s"),
    ],
    ids=["denied", "out of order", "over quota", "hangs"],
)
async def test_without_a_signature_the_prediction_goes_out_without_a_url(
    cloud, generator, prompt_of, signer, monkeypatch, caplog, settings, says
):
    if "latency_s" in settings:
        monkeypatch.setattr(signed_urls, "DEADLINE_S", 1.0)
    monkeypatch.setattr(signed_urls, "RETRY_S", 0.1)
    cloud.signing(**settings)
    work = generator(signer=signer)
    loop = asyncio.get_running_loop()
    began = loop.time()
    # Of two, one could still be tried again when the other has failed.
    made = await work.outcome(prompt_of("a fox"))
    assert isinstance(made, Prediction)
    assert (made.signed_urls, made.work.unsigned, len(made.images)) == ((), 1, 1)
    (line,) = [each.getMessage() for each in caplog.records if "sign URLs" in each.getMessage()]
    assert re.search(says, line)
    # Nobody waits again for what has just failed.
    calls = cloud.signing()
    await asyncio.gather(*(work.outcome(prompt_of("a fox")) for _ in range(20)))
    assert cloud.signing() == calls
    assert loop.time() - began < 30


async def test_signing_goes_on_by_itself_once_it_works_again(cloud, signer, lane, monkeypatch):
    path = lane.put("images/a.png", b"")
    monkeypatch.setattr(signed_urls, "PAUSE_S", 0.0)
    cloud.signing(denied=1)
    assert await signer.urls([path]) == ()
    cloud.signing(denied=0)
    assert len(await signer.urls([path])) == 1


async def test_a_passing_error_is_tried_again_within_the_time(cloud, session, lane, serve):
    path = lane.put("images/a.png", b"")
    answers = iter([503, 429])

    from aiohttp import web

    async def handler(_):
        status = next(answers, 200)
        signed = {"signedBlob": base64.b64encode(b"x").decode()}
        return web.json_response(signed, status=status)

    signer = UrlSigner(session, hours=1, account=ACCOUNT)
    signer._root = await serve(handler)
    (url,) = await signer.urls([path])
    assert url.endswith(f"X-Goog-Signature={b'x'.hex()}")


async def test_without_an_account_the_process_s_own_signs(cloud, session, lane, caplog):
    """The stand-in's own is a workload identity, which has no key."""
    signer = UrlSigner(session, hours=1)
    assert await signer.urls([lane.put("images/a.png", b"")]) == ()
    assert "cannot sign URLs as demo-project.svc.id.goog;" in caplog.text


async def test_a_job_without_them_has_none_and_counts_none(generator, prompt_of):
    made = await generator().outcome(prompt_of("a fox"))
    assert (made.signed_urls, made.work.unsigned) == ((), 0)
    assert json.loads(encode(dataclasses.replace(made))[0])["signed_urls"] == []
