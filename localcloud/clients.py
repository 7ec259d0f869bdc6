"""Google's raw Pub/Sub clients, for the emulator where the environment names one."""

import os
from typing import Any

import grpc


def raw_client(kind: Any, host: str | None = None) -> Any:
    """Return a `google.pubsub_v1` client of `kind`, at `host` or `PUBSUB_EMULATOR_HOST` if given.

    Only google-cloud-pubsub's own wrappers look at that variable, and they batch and lease in
    threads of their own, which is not wanted where batches and leases are the caller's work.
    """
    host = host or os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return kind()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    transport = kind.get_transport_class("grpc")
    return kind(transport=transport(channel=grpc.insecure_channel(host, options=options)))
