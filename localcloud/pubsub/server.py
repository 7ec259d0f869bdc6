"""The Pub/Sub server that `PUBSUB_EMULATOR_HOST` points at."""

import asyncio
from pathlib import Path

import grpc

from localcloud.pubsub.broker import Broker
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.errors import PubSubError
from localcloud.pubsub.faults import Faults, FaultyBroker
from localcloud.pubsub.journal import Journal
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.service import handlers
from localcloud.pubsub.subscriber import Subscriber
from localcloud.pubsub.wakeups import Wakeups

_MAX_REQUEST_BYTES = 20_000_000
"""Larger than the service's limit, so that the service rejects the request and explains why."""


class PubSubServer:
    """A Pub/Sub server over gRPC without encryption, in the event loop that starts it.

    After `stop` it can be started again.

    Args:
        state_dir: keeps topics, subscriptions and unacknowledged messages across restarts; None
            keeps nothing.
        host: the address to listen on.
        port: the TCP port; 0 picks a free one.
        faults: injected faults, which can be configured while the server runs.
    """

    def __init__(
        self,
        state_dir: Path | None,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        faults: Faults | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._faults = faults or Faults()
        self._address = (host, port)
        self._running: _Running | None = None

    @property
    def broker(self) -> Broker:
        """The broker, for use from the server's event loop only.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._running is None:
            raise RuntimeError("The Pub/Sub server is not running; await start() first.")
        return self._running.broker

    async def start(self) -> int:
        """Restore the state, start listening, and return the port.

        Raises:
            RuntimeError: the server is running already, another server uses the state folder, or
                the address is in use.
        """
        if self._running is not None:
            raise RuntimeError("The Pub/Sub server is already running.")
        journal = None if self._state_dir is None else Journal(self._state_dir)
        running = _Running(journal, self._faults)
        try:
            port = await running.listen(*self._address)
        except BaseException:
            await running.close()
            raise
        self._running = running
        return port

    async def stop(self, grace_s: float | None = 1.0) -> None:
        """Reject new requests, let current ones finish within `grace_s` seconds, save the state.

        Waiting pulls return empty, and streams end with UNAVAILABLE at once. Leases are not saved:
        their messages can be delivered again after the next start.
        """
        running, self._running = self._running, None
        if running is not None:
            await running.stop(grace_s)
            await running.close()


class _Running:
    """The parts of a server that exist between `start` and `stop`."""

    def __init__(self, journal: Journal | None, faults: Faults) -> None:
        clock = Clock()
        restored = journal.restore() if journal is not None else None
        self.broker = FaultyBroker(faults, clock, journal, restored)
        self._committer = Committer(journal)
        self._wakeups = Wakeups(clock, self._expire)
        self._stopping = asyncio.Event()
        self.broker.listener = self._wakeups
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", -1),
                # Otherwise two servers on one port would silently share its connections.
                ("grpc.so_reuseport", 0),
                # Clients of an idle subscription ping more often than gRPC allows by default.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._server.add_generic_rpc_handlers(
            handlers(
                Publisher(self.broker, self._committer),
                Subscriber(self.broker, self._committer, self._wakeups, self._stopping),
            )
        )

    async def listen(self, host: str, port: int) -> int:
        bound: int = self._server.add_insecure_port(f"{host}:{port}")
        await self._server.start()
        return bound

    async def stop(self, grace_s: float | None) -> None:
        self._stopping.set()
        self._wakeups.wake_all()
        await self._server.stop(grace_s)

    async def close(self) -> None:
        self._wakeups.close()
        await self._committer.close()

    def _expire(self, subscription: str) -> None:
        try:
            self.broker.expire(subscription)
        except PubSubError:
            return  # the subscription was deleted while its timer ran
        self._committer.soon()
