"""signBlob and generateAccessToken: who signs what, what certificates say, and who acts as whom."""

import base64
import datetime as dt
import json
import urllib.error
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from localcloud.iamcredentials import SigningKey

ACCOUNT = "imagen-worker@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def call(cloud):
    """Return a function that makes a request, and returns the status and the answer."""

    def call(path, body=None, token="Bearer t"):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": token}
        request = urllib.request.Request(f"{cloud.signing_url}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    return call


def sign(account):
    return f"/v1/projects/-/serviceAccounts/{account}:signBlob"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_the_published_certificate_verifies_what_was_signed(call, encode):
    message = bytes(range(256))
    status, answer = call(sign(ACCOUNT), {"payload": encode(message).decode()})
    assert status == 200
    _, certificates = call(f"/service_accounts/v1/metadata/x509/{ACCOUNT}", token="")
    certificate = x509.load_pem_x509_certificate(certificates[answer["keyId"]].encode())
    certificate.public_key().verify(
        base64.b64decode(answer["signedBlob"]), message, padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize(
    ("account", "body", "token", "expected"),
    [
        (ACCOUNT, {"payload": "eA=="}, "", (401, "UNAUTHENTICATED")),
        ("demo-project.svc.id.goog", {"payload": "eA=="}, "Bearer t", (403, "PERMISSION_DENIED")),
        (ACCOUNT, {"payload": "no base64!"}, "Bearer t", (400, "INVALID_ARGUMENT")),
        (ACCOUNT, {}, "Bearer t", (400, "INVALID_ARGUMENT")),
    ],
    ids=["no token", "no account", "no base64", "nothing"],
)
def test_whatever_else_is_refused_as_the_service_does(call, account, body, token, expected):
    status, error = call(sign(account), body, token)
    assert (status, error["status"]) == expected
    if status == 403:
        assert error["message"].startswith("Permission 'iam.serviceAccounts.signBlob' denied on ")
        assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"


def test_a_key_survives_a_restart_and_nobody_else_can_read_it(tmp_path):
    path = tmp_path / "key.pem"
    signature = SigningKey(path).sign(b"a")
    again = SigningKey(path)
    assert again.is_signed(b"a", signature)
    assert not again.is_signed(b"b", signature)
    assert path.stat().st_mode & 0o077 == 0


def token_of(account):
    return f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"


def test_a_token_names_its_account_and_ends(call):
    body = {"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "600s"}
    status, answer = call(token_of(ACCOUNT), body)
    assert status == 200
    assert ACCOUNT in answer["accessToken"]
    left = dt.datetime.fromisoformat(answer["expireTime"]) - dt.datetime.now(dt.UTC)
    assert 500 < left.total_seconds() <= 600


@pytest.mark.parametrize(
    "body", [{}, {"scope": ["x"], "lifetime": "7200s"}, {"scope": ["x"], "lifetime": "1h"}]
)
def test_a_token_without_scopes_or_for_longer_than_an_hour_is_refused(call, body):
    assert call(token_of(ACCOUNT), body)[0] == 400


def test_nobody_acts_as_what_is_no_account_or_where_it_is_denied(call, cloud):
    body = {"scope": ["x"]}
    assert call(token_of("demo-project.svc.id.goog"), body)[0] == 403
    cloud.signing(denied=1)
    status, error = call(token_of(ACCOUNT), body)
    assert status == 403
    assert "iam.serviceAccounts.getAccessToken" in error["message"]
