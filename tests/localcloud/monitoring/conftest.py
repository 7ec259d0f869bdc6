"""The Monitoring API in this process, over jobs and subscriptions that a test makes up."""

import asyncio
import dataclasses
import datetime as dt
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from localcloud.dataflow.jobs import Job
from localcloud.http import HttpServer
from localcloud.monitoring import Sampler, monitoring_app
from localcloud.monitoring.catalog import readings
from localcloud.pubsub.message import SubscriptionStats


def rfc3339(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


@dataclasses.dataclass
class Monitoring:
    """A running stand-in; what it reads is in `jobs` and `subscriptions`."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    subscriptions: dict[str, SubscriptionStats] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sampler = Sampler(
            lambda: readings(self.jobs, list(self.subscriptions), self.subscriptions.__getitem__)
        )
        self.now = time.time()

    def list(self, filter: str, **query: Any) -> dict[str, Any]:
        """Ask for the last hour, unless told otherwise; `aggregation.x` is `aggregation_x`."""
        interval = {
            "interval_startTime": rfc3339(self.now - 3600),
            "interval_endTime": rfc3339(self.now),
        }
        given = {"name": "projects/demo-project", "filter": filter, **interval, **query}
        given = {name: value for name, value in given.items() if value is not None}
        return dict(self.client.projects().timeSeries().list(**given).execute())


@pytest.fixture
def monitoring() -> Iterator[Monitoring]:
    running = Monitoring()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = HttpServer(monitoring_app(running.sampler))
    port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(timeout=60)
    running.client = build(
        "monitoring",
        "v3",
        client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{port}"),
        credentials=Credentials(token="test"),
        cache_discovery=False,
    )
    yield running
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(timeout=60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
