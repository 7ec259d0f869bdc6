"""All stand-ins in one process, on one state folder, and the environment that points at them."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from aiohttp import web

from localcloud import resources
from localcloud.dataflow import JobService, dataflow_app
from localcloud.files import write_json
from localcloud.http import HttpServer
from localcloud.knobs import add_knobs
from localcloud.metadata import metadata_app
from localcloud.monitoring import Sampler, monitoring_app
from localcloud.monitoring.catalog import Series, readings
from localcloud.pubsub import Faults, PubSubServer
from localcloud.resources import Names
from localcloud.storage import ObjectStore, storage_app
from localcloud.storage.errors import StorageError
from localcloud.vertex import Behaviour, vertex_app

ENVIRONMENT_FILE = "environment.json"
_PORTS_FILE = "ports.json"
# An identity as GKE's metadata server names it. For one with an e-mail address google-auth asks
# Google itself where that account may be used; nothing here may ask Google anything.
_IDENTITY = "<project>.svc.id.goog"


class LocalCloud:
    """Google Cloud, as far as this project needs it. Use from one event loop.

    Args:
        state: a folder of its own; made if need be. Topics, subscriptions, unacknowledged
            messages, objects and jobs outlive the process in it; active jobs go on with the next
            start. So do the ports, where they are still free, so that clients survive a restart.
        names: what is provisioned.
        behaviour: how Vertex AI behaves.
        seed: makes the faults of Cloud Storage, Pub/Sub, Dataflow and Monitoring repeatable.
    """

    def __init__(
        self,
        state: Path,
        *,
        names: Names | None = None,
        behaviour: Behaviour | None = None,
        seed: int | None = None,
    ) -> None:
        self._state = state
        self._seed = seed
        self.names = names or Names()
        self.behaviour = behaviour or Behaviour()
        self._pubsub_faults = Faults(seed=seed)
        self._http: list[HttpServer] = []

    async def start(self) -> dict[str, str]:
        """Serve, provision, and return the environment for clients; also left in the folder."""
        self._state.mkdir(parents=True, exist_ok=True)
        before = _read(self._state / _PORTS_FILE)
        self._store = ObjectStore(self._state / "storage")
        ports = {
            "storage": await self._serve(
                lambda: storage_app(self._store, seed=self._seed), before.get("storage")
            ),
            "vertex": await self._serve(
                lambda: vertex_app(self.behaviour), before.get("vertex"), abandon_with_client=True
            ),
            "metadata": await self._serve(
                lambda: metadata_app(self.names.project, service_account=_IDENTITY),
                before.get("metadata"),
            ),
            "pubsub": await self._serve_pubsub(before.get("pubsub")),
        }
        environment: dict[str, str] = {}
        self._jobs = JobService(self._state / "dataflow", environment)
        self._sampler = Sampler(self._readings)
        ports["dataflow"] = await self._serve(
            lambda: dataflow_app(self._jobs, _Objects(self._store), environment, seed=self._seed),
            before.get("dataflow"),
        )
        ports["monitoring"] = await self._serve(self._monitoring_app, before.get("monitoring"))
        environment |= {
            "GOOGLE_CLOUD_PROJECT": self.names.project,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "GOOGLE_VERTEX_BASE_URL": f"http://127.0.0.1:{ports['vertex']}",
            # With these, every Google library finds credentials the way it does in production.
            "GCE_METADATA_HOST": f"127.0.0.1:{ports['metadata']}",
            "GCE_METADATA_IP": f"127.0.0.1:{ports['metadata']}",
            # gcloud's own names for its endpoints; what else needs them reads them there, too.
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"http://127.0.0.1:{ports['dataflow']}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": (
                f"http://127.0.0.1:{ports['monitoring']}/"
            ),
        }
        await asyncio.to_thread(
            resources.provision,
            self.names,
            pubsub_host=environment["PUBSUB_EMULATOR_HOST"],
            storage_url=environment["STORAGE_EMULATOR_HOST"],
        )
        self._jobs.start()
        self._sampler.start()
        write_json(self._state / _PORTS_FILE, ports)
        write_json(self._state / ENVIRONMENT_FILE, environment)
        return environment

    async def stop(self) -> None:
        """Stop serving; everything is in the folder."""
        (self._state / ENVIRONMENT_FILE).unlink(missing_ok=True)
        self._sampler.stop()
        # Jobs first: what they have under way they finish against the other services.
        await self._jobs.stop()
        await asyncio.gather(*(server.stop() for server in self._http), self._pubsub.stop())
        self._store.close()

    async def _serve(
        self,
        make_app: Callable[[], web.Application],
        port: int | None,
        *,
        abandon_with_client: bool = False,
    ) -> int:
        for wanted in (port or 0, 0):
            # An app serves once: what it shut down when the port was taken stays shut down.
            server = HttpServer(make_app(), port=wanted, abandon_with_client=abandon_with_client)
            try:
                chosen = await server.start()
            except OSError:
                if not wanted:
                    raise
                continue
            self._http.append(server)
            return chosen
        raise AssertionError("unreachable")

    async def _serve_pubsub(self, port: int | None) -> int:
        for wanted in (port or 0, 0):
            self._pubsub = PubSubServer(
                self._state / "pubsub", port=wanted, faults=self._pubsub_faults
            )
            try:
                return await self._pubsub.start()
            except RuntimeError:
                if not wanted:
                    raise
        raise AssertionError("unreachable")

    def _monitoring_app(self) -> web.Application:
        app = monitoring_app(self._sampler, seed=self._seed)
        # Pub/Sub itself speaks gRPC only.
        faults = self._pubsub_faults
        add_knobs(
            app, faults.settings, lambda: dataclasses.asdict(faults.counts), "/localcloud/pubsub"
        )
        return app

    def _readings(self) -> Iterator[tuple[Series, int]]:
        broker = self._pubsub.broker
        subscriptions = [
            each.name for each in broker.subscriptions(f"projects/{self.names.project}")
        ]
        return readings(self._jobs.registry.all(), subscriptions, broker.subscription_stats)


class _Objects:
    """Cloud Storage as Dataflow reads it: templates and what is staged."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, bucket: str, name: str) -> bytes:
        try:
            return self._store.read(bucket, name)
        except StorageError as error:
            raise LookupError(error.message) from error

    def exists(self, bucket: str, name: str) -> bool:
        try:
            self._store.get(bucket, name)
        except StorageError:
            return False
        return True


def _read(path: Path) -> dict[str, int]:
    try:
        return {str(k): int(v) for k, v in json.loads(path.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}
