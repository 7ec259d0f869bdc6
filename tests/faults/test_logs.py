"""What is in no log, whatever goes wrong: prompts, and the tokens that calls are made with."""

import json
import urllib.request

import pytest

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(1800)]

SECRET = "lavender-submarine"
FAULTS = (
    *("blocked", "blocked-image", "invalid", "empty", "not-an-image"),
    *("unavailable-once", "quota-once", "error-once", "garbage-once", "cut-once", "hang-once"),
)
OPTIONS = {"max_retry_seconds": 20, "call_timeout_seconds": 3}


def token(cloud) -> str:
    """The token that every client of the local cloud is given."""
    host = cloud.environment["GCE_METADATA_HOST"]
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    asked = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return str(json.load(answer)["access_token"])


@pytest.mark.parametrize("program", ["stream", "backfill"])
def test_no_prompt_and_no_token_is_logged_whatever_fails(
    program, faults, cloud, lane, start, books
):
    bodies = [
        json.dumps({"prompt": f"fault:{fault} {SECRET} {n}", "id": f"{fault}-{n}"}).encode()
        for fault in FAULTS
        for n in range(3)
    ]
    malformed = [f'{{"prompt": "{SECRET}", "imges": {n}}}'.encode() for n in range(3)]
    path = lane.put("logs.jsonl", b"\n".join([*bodies, *malformed]))
    cloud.storage(error_rate=0.1, error_status=500)
    if program == "stream":
        job = start("stream", **OPTIONS)
        lane.publish(*bodies, *malformed)
    else:
        job = start("backfill", prompts=path, **OPTIONS)
    books.wait([*bodies, *malformed])
    job.finish()
    log = job.log.read_text(errors="replace")
    assert SECRET not in log
    assert token(cloud) not in log
    faults.row(
        f"{program}: every fault, with prompts that are to be in no log",
        f"{len(bodies) + len(malformed)} prompts, {len(log.splitlines()):,} lines of log: no "
        "prompt and no token among them",
        lost=len(books.missing([*bodies, *malformed])),
    )
