"""The memory settings of the process."""

import asyncio.sslproto
import gc
import ssl

import pytest

from beam_jobs.engine.process_memory import (
    TLS_BUFFER_BYTES,
    bound_tls_buffers,
    freeze_imported_objects,
)


@pytest.mark.slow
def test_existing_objects_are_exempt_from_garbage_collection():
    gc.unfreeze()  # what the tests' own start has exempted
    freeze_imported_objects()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < gc.get_freeze_count()


@pytest.mark.asyncio
async def test_the_buffer_of_a_tls_connection_is_bounded(monkeypatch):
    monkeypatch.setattr(asyncio.sslproto.SSLProtocol, "max_size", 1 << 18)
    bound_tls_buffers()
    connection = asyncio.sslproto.SSLProtocol(
        asyncio.get_running_loop(), asyncio.Protocol(), ssl.create_default_context(), None
    )
    assert len(connection.get_buffer(-1)) == TLS_BUFFER_BYTES
