"""How long a task keeps the dead letters that it is working on."""

import types
from datetime import UTC, datetime

import pytest


def test_leases_are_renewed_before_they_end_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from imagen_ops.dead_letters.leases import LEASE_SECONDS, Leases
    from imagen_ops.google.pubsub import Message

    calls: list[tuple[list[str], int]] = []
    now = 1000.0
    monkeypatch.setattr("imagen_ops.dead_letters.leases.time.monotonic", lambda: now)
    message = Message("1", "ack-1", b"", {}, datetime.now(UTC))
    pubsub = types.SimpleNamespace(
        pull_messages=lambda subscription, most: [message][:most],
        lease=lambda subscription, ack_ids, seconds: calls.append((ack_ids, seconds)),
    )
    with Leases(pubsub, "sub") as leases:  # type: ignore[arg-type] # a stand-in
        leases.pull(1)
        for _ in range(60):
            now += 1.0
            leases.renew()
    lease = LEASE_SECONDS
    assert calls == [(["ack-1"], lease)] * 3 + [(["ack-1"], 0)]
