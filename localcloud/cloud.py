"""All stand-ins in one process on one state folder, and the environment that points at them."""

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
from localcloud.iamcredentials import SigningKey, iamcredentials_app
from localcloud.metadata import metadata_app
from localcloud.monitoring import Sampler, monitoring_app
from localcloud.monitoring.catalog import Series, readings
from localcloud.pubsub import Faults, PubSubServer
from localcloud.resources import Names
from localcloud.storage import ObjectStore, storage_app
from localcloud.storage.errors import StorageError
from localcloud.tunable_settings import add_settings_routes
from localcloud.vertex import Behaviour, vertex_app

ENVIRONMENT_FILE = "environment.json"
_PORTS_FILE = "ports.json"
# An identity in the form of GKE's metadata server. For an identity with an e-mail address,
# google-auth asks Google itself where the account may be used; nothing here may call Google.
_IDENTITY = "<project>.svc.id.goog"


class LocalCloud:
    """The parts of Google Cloud that this project needs. Use it from one event loop.

    Args:
        state: the state folder, created if missing. It keeps topics, subscriptions,
            unacknowledged messages, objects and jobs across restarts; active jobs resume at the
            next start. It also keeps the ports, which are reused if they are still free, so that
            clients survive a restart.
        names: the names of the resources to create.
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
        """Start all stand-ins and create the resources.

        Returns:
            The environment variables for clients, which are also written into the state folder.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        last_ports = _read_ports(self._state / _PORTS_FILE)
        self._store = ObjectStore(self._state / "storage")
        key = SigningKey(self._state / "signing-key.pem")
        storage_port = await self._serve(
            lambda: storage_app(self._store, seed=self._seed, is_signed=key.is_signed),
            last_ports.get("storage"),
        )
        ports = {
            "storage": storage_port,
            "vertex": await self._serve(
                lambda: vertex_app(
                    self.behaviour,
                    _Objects(self._store).read,
                    storage_url=f"http://127.0.0.1:{storage_port}",
                    batch_records=self._state / "batch-jobs.json",
                ),
                last_ports.get("vertex"),
                abandon_with_client=True,
            ),
            "metadata": await self._serve(
                lambda: metadata_app(self.names.project, service_account=_IDENTITY),
                last_ports.get("metadata"),
            ),
            "iamcredentials": await self._serve(
                lambda: iamcredentials_app(key, seed=self._seed), last_ports.get("iamcredentials")
            ),
            "pubsub": await self._serve_pubsub(last_ports.get("pubsub")),
        }
        environment: dict[str, str] = {}
        self._jobs = JobService(self._state / "dataflow", environment)
        self._sampler = Sampler(self._readings)
        ports["dataflow"] = await self._serve(
            lambda: dataflow_app(self._jobs, _Objects(self._store), environment, seed=self._seed),
            last_ports.get("dataflow"),
        )
        ports["monitoring"] = await self._serve(self._monitoring_app, last_ports.get("monitoring"))
        environment |= {
            "GOOGLE_CLOUD_PROJECT": self.names.project,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "GOOGLE_VERTEX_BASE_URL": f"http://127.0.0.1:{ports['vertex']}",
            # With these, every Google library finds credentials the way it does in production.
            "GCE_METADATA_HOST": f"127.0.0.1:{ports['metadata']}",
            "GCE_METADATA_IP": f"127.0.0.1:{ports['metadata']}",
            # gcloud's own names for its endpoints. Other code that needs the endpoints reads the
            # same variables.
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"http://127.0.0.1:{ports['dataflow']}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": (
                f"http://127.0.0.1:{ports['monitoring']}/"
            ),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": (
                f"http://127.0.0.1:{ports['iamcredentials']}/"
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
        """Stop all stand-ins. Their state stays in the folder."""
        (self._state / ENVIRONMENT_FILE).unlink(missing_ok=True)
        self._sampler.stop()
        # Jobs stop first: they need the other services to finish their work in progress.
        await self._jobs.stop()
        # The last first: batch jobs of Vertex AI write into Cloud Storage until they are stopped.
        for server in reversed(self._http):
            await server.stop()
        await self._pubsub.stop()
        self._store.close()

    async def _serve(
        self,
        make_app: Callable[[], web.Application],
        port: int | None,
        *,
        abandon_with_client: bool = False,
    ) -> int:
        for candidate in (port or 0, 0):
            # Build the app anew for each try: an app that was shut down cannot be served again.
            server = HttpServer(make_app(), port=candidate, abandon_with_client=abandon_with_client)
            try:
                chosen = await server.start()
            except OSError:
                if not candidate:
                    raise
                continue
            self._http.append(server)
            return chosen
        raise AssertionError("unreachable")

    async def _serve_pubsub(self, port: int | None) -> int:
        for candidate in (port or 0, 0):
            self._pubsub = PubSubServer(
                self._state / "pubsub", port=candidate, faults=self._pubsub_faults
            )
            try:
                return await self._pubsub.start()
            except RuntimeError:
                if not candidate:
                    raise
        raise AssertionError("unreachable")

    def _monitoring_app(self) -> web.Application:
        app = monitoring_app(self._sampler, seed=self._seed)
        # Pub/Sub itself serves gRPC only, so its settings are served here.
        faults = self._pubsub_faults
        add_settings_routes(
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
    """Cloud Storage as Dataflow reads it: templates and staged files."""

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


def _read_ports(path: Path) -> dict[str, int]:
    try:
        return {str(k): int(v) for k, v in json.loads(path.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}
