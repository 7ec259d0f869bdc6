"""The Pub/Sub server: what `PUBSUB_EMULATOR_HOST` points at."""

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
"""Beyond the limit of the service, so that it is the service that refuses, and says why."""


class PubSubServer:
    """A Pub/Sub server over gRPC without encryption, in the event loop that starts it.

    `state_dir` is where topics, subscriptions and unacknowledged messages survive a restart;
    without one they do not. `port` 0 means any free one. After `stop` it can be started again.
    `faults` strike when they are told to.
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
        """Topics, subscriptions and their statistics. Use it from the server's event loop only.

        Raises `RuntimeError` unless the server is running.
        """
        if self._running is None:
            raise RuntimeError("The Pub/Sub server is not running: await start() first.")
        return self._running.broker

    async def start(self) -> int:
        """Restore the state, listen, and return the port.

        Raises `RuntimeError` if the server is running already, if another one has the state folder,
        or if the address is taken.
        """
        if self._running is not None:
            raise RuntimeError("The Pub/Sub server is running already.")
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
        """Refuse new requests, let current ones end within `grace_s` seconds, write what is left.

        Waiting pulls come back empty and streams end with UNAVAILABLE at once. Leases are given up:
        after the next start what they covered is due again.
        """
        running, self._running = self._running, None
        if running is not None:
            await running.stop(grace_s)
            await running.close()


class _Running:
    """The parts of a server that live from one start to the next stop."""

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
                # Two servers on one port would share its connections without a word.
                ("grpc.so_reuseport", 0),
                # Clients of a subscription that is silent ping more often than gRPC expects.
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
            return  # It was deleted while its timer ran.
        self._committer.soon()
