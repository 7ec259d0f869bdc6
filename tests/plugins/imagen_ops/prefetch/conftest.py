"""The prefetch of a run, against the stand-ins of Vertex AI and Cloud Storage."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from imagen_ops.prefetch.run_prefetch import RunPrefetch
from imagen_ops.prefetch.state import Part, Prefetch
from tests.plugins.conftest import Deployment

MODEL = "gemini-3.1-flash-image"
ROWS = 4


def request_row(text: str) -> bytes:
    request = {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
        "labels": {"imagen-image": f"{0:032x}-0"},
    }
    return json.dumps({"request": request}).encode() + b"\n"


@pytest.fixture
def prefetch(deployment: Deployment) -> RunPrefetch:
    """The prefetch of a run, which has not begun."""
    # Batch jobs of other tests have other labels.
    return RunPrefetch(
        deployment.settings,
        deployment.clients,
        run_id=f"manual__{deployment.lane.name}",
        run_label=deployment.lane.name.rjust(32, "0"),
    )


@pytest.fixture
def ordered(deployment: Deployment, prefetch: RunPrefetch) -> Callable[..., Prefetch]:
    """Write the requests of some parts, and write down that they are to be ordered."""

    def order(parts: int = 1, **changes: Any) -> Prefetch:
        bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
        made = []
        for number in range(parts):
            folder = prefetch.folder.part("a", number)
            rows = b"".join(request_row(f"a fox {row}") for row in range(ROWS))
            bucket.blob(folder.requests.split("/", 3)[3]).upload_from_string(rows)
            fields = {"number": number, "folder": folder.url, "model": MODEL, **changes}
            made.append(Part(location="global", rows=ROWS, likely_micro_usd=80_000, **fields))
        return prefetch.start(Prefetch(run_id="r", parts=tuple(made)))

    return order
