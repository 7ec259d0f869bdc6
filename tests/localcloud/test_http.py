"""No page in a browser on this machine can use the stand-ins, or be one of their answers."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from localcloud.cloud import LocalCloud

APPS = ("storage", "vertex", "metadata", "dataflow", "monitoring", "iamcredentials")
FLAVOR = {"Metadata-Flavor": "Google"}
pytestmark = pytest.mark.slow

HTML = b"<script>alert(1)</script>"


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The ports of all stand-ins, by name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    state = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud(state)
    asyncio.run_coroutine_threadsafe(cloud.start(), loop).result(120)
    yield json.loads((state / "ports.json").read_text())
    asyncio.run_coroutine_threadsafe(cloud.stop(), loop).result(120)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture(scope="module")
def uploaded(ports: dict[str, int]) -> str:
    """The bucket with a page that somebody uploaded, through the client, at another name."""
    options = {"api_endpoint": f"http://localhost:{ports['storage']}"}
    client = storage.Client("demo-project", AnonymousCredentials(), client_options=options)
    bucket = next(iter(client.list_buckets()))
    bucket.blob("page.html").upload_from_string(HTML, content_type="text/html")
    return str(bucket.name)


def ask(
    port: int, headers: dict[str, str], path: str = "/localcloud", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={**FLAVOR, **headers})
    response = connection.getresponse()
    named = {name.lower(): value for name, value in response.getheaders()}
    return response.status, named, response.read()


def test_these_are_all_stand_ins_but_the_one_that_no_browser_can_speak_to(
    ports: dict[str, int],
) -> None:
    assert set(ports) - {"pubsub"} == set(APPS), "Pub/Sub is gRPC"


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_this_machine_is_answered(ports: dict[str, int], app: str, host: str) -> None:
    port = ports[app]
    for value in (host, f"{host}:{port}"):
        status, headers, _ = ask(port, {"Host": value, "Origin": f"http://{host}:1234"})
        assert status != 403
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "rebound.example"}, "Host: expected a name of this machine"),
        ({"Host": "rebound.example:80"}, "Host: expected a name of this machine"),
        ({"Host": "localhost.rebound.example"}, "Host: expected a name of this machine"),
        ({"Host": "["}, "Host: expected a name of this machine"),
        ({"Origin": "https://other.example"}, "Origin: expected a page of this machine"),
        ({"Origin": "null"}, "Origin: expected a page of this machine"),
        ({"Sec-Fetch-Site": "cross-site"}, "enter the address yourself"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_site_is_refused(
    ports: dict[str, int], app: str, headers: dict[str, str], said: str, method: str
) -> None:
    status, _, body = ask(ports[app], headers, method=method)
    assert status == 403
    assert said in body.decode()


@pytest.mark.parametrize("root", ["", "/storage/v1/b", "/download/storage/v1/b"])
def test_an_uploaded_page_is_downloaded_and_never_shown(
    ports: dict[str, int], uploaded: str, root: str
) -> None:
    path = f"{root}/{uploaded}/o/page.html?alt=media" if root else f"/{uploaded}/page.html"
    status, headers, body = ask(ports["storage"], {}, path)
    assert (status, body) == (200, HTML)
    assert headers["content-type"] == "text/html", "as in the service"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
