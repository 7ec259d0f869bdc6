"""Google's low-level Pub/Sub clients, pointed at the emulator if the environment names one."""

import os
from typing import Any

import grpc


def raw_client(kind: Any, host: str | None = None) -> Any:
    """Return a client of class `kind` from `google.pubsub_v1`.

    The client connects to `host`, else to `PUBSUB_EMULATOR_HOST`, else to Google. Only the
    wrappers in google-cloud-pubsub read that variable, but they batch and lease in threads of
    their own. Callers of this function manage batches and leases themselves.
    """
    host = host or os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return kind()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    transport = kind.get_transport_class("grpc")
    return kind(transport=transport(channel=grpc.insecure_channel(host, options=options)))
