"""Calls about batch jobs, against a scripted server; see also prefetch/test_batches."""

import pytest

from imagen_ops.errors import ApiError
from imagen_ops.jobs.batch_job import BatchRequest
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.google.test_rest import ScriptedServer

REQUEST = BatchRequest("d", "gemini-3-pro-image", "gs://b/r.jsonl", "gs://b/output", labels={})


def test_a_request_for_a_job_is_never_sent_twice(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service may have created the job before its answer was lost."""
    service = ScriptedServer()
    service.responses = [(503, {})]
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", service.url)
    try:
        with pytest.raises(ApiError, match="creating the batch job d: HTTP 503"):
            deployment.clients.batches("global").create(REQUEST)
    finally:
        service.server.shutdown()
        service.server.server_close()
    assert len(service.requests) == 1
