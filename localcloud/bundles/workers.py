"""The workers of a batch job: which are connected, and who has room for another bundle."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane
from apache_beam.utils import thread_pool_executor

_log = logging.getLogger(__name__)

BUNDLES_AT_ONCE = 4
"""How many bundles a worker processes at once. While one waits for its slowest prompt, the others
keep the worker's window of model calls full."""

# https://cloud.google.com/dataflow/docs/guides/common-errors: "The Dataflow job appears to be stuck
# because no worker activity has been seen in the last 1h."
_NO_WORKER_S = 3600.0
# How long dismissed workers have to disconnect.
_DISMISSED_S = 5.0
_NOTHING_MORE = worker_handlers.BeamFnControlServicer._DONE_MARKER
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class WorkerLostError(Exception):
    """A worker has disconnected, and its bundles with it."""


class Worker:
    """A connected worker. `control` and `data` are Beam's connections to it."""

    def __init__(self, name: str, control: Any, data: Any) -> None:
        self.name = name
        self.control = control
        self.data = data
        self.bundles = 0
        self.lost = False

    def hang_up(self) -> None:
        """End this process's side of both connections, and so the threads that serve them."""
        self.control.push(_NOTHING_MORE)
        # What is still to be sent to a lost worker is never taken, and can block.
        threading.Thread(target=self._close_data, daemon=True).start()

    def _close_data(self) -> None:
        with contextlib.suppress(Exception):  # a connection that was cut off has an error to tell
            self.data.close()


class Workers:
    """The connected workers. Thread-safe."""

    def __init__(self) -> None:
        self._connected: dict[str, Worker] = {}
        self._changed = threading.Condition()

    def join(self, worker: Worker) -> None:
        """Give bundles to a worker from now on."""
        with self._changed:
            self._connected[worker.name] = worker
            self._changed.notify_all()
        _log.info("worker %s is connected", worker.name)

    def dismiss(self) -> None:
        """Tell all workers that there is nothing more to do, so that they end."""
        with self._changed:
            for worker in self._connected.values():
                worker.hang_up()

    def lose(self, worker: Worker) -> None:
        """Let the bundles of a worker that has disconnected fail, so that others get them."""
        with self._changed:
            worker.lost = True
            if self._connected.get(worker.name) is worker:
                del self._connected[worker.name]
        worker.control.abort(WorkerLostError(f"worker {worker.name} is lost"))

    @contextlib.contextmanager
    def place(self) -> Iterator[Worker]:
        """Wait for room at a worker, take it, and yield the worker: the one with the most room.

        Raises:
            TimeoutError: there was no worker for an hour.
        """
        with self._changed:
            while not (free := self._with_room()):
                waited = self._changed.wait(_NO_WORKER_S)
                if not waited and not self._connected:
                    raise TimeoutError(
                        "The job appears to be stuck because no worker activity has been seen in "
                        "the last 1h. See why the workers' processes end."
                    )
            worker = min(free, key=lambda each: each.bundles)
            worker.bundles += 1
        try:
            yield worker
        finally:
            with self._changed:
                worker.bundles -= 1
                self._changed.notify_all()

    def _with_room(self) -> list[Worker]:
        return [each for each in self._connected.values() if each.bundles < BUNDLES_AT_ONCE]


class WorkerManager(worker_handlers.WorkerHandlerManager):
    """What FnApiRunner asks for workers: here they connect by themselves, at any time.

    Args:
        environments: the pipeline's environments.
        job_provision_info: what Beam tells workers that it starts.
        workers: is told of each worker that connects or disconnects.
        on_listening: called with the address, once workers can connect.
    """

    def __init__(
        self,
        environments: Any,
        job_provision_info: Any,
        *,
        workers: Workers,
        on_listening: Callable[[str], None],
    ) -> None:
        super().__init__(environments, job_provision_info)
        self._workers = workers
        # Beam's own server has a port for each service, on all the machine's addresses.
        self._server = grpc.server(
            thread_pool_executor.shared_unbounded_instance(), options=_OPTIONS
        )
        self._address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        # With a time limit, Beam sends what is written so far once a second, even in the middle of
        # an element, and the reader never finishes decoding it.
        data = _Data(data_buffer_time_limit_ms=0)
        beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(
            _Control(self, data, workers), self._server
        )
        beam_fn_api_pb2_grpc.add_BeamFnDataServicer_to_server(data, self._server)
        beam_fn_api_pb2_grpc.add_BeamFnStateServicer_to_server(
            worker_handlers.GrpcStateServicer(self.state_servicer), self._server
        )
        self._server.start()
        on_listening(self._address)

    def get_worker_handlers(self, environment_id: str | None, num_workers: int) -> list[Any]:
        """Return what says where a stage's data goes: to this process, whoever works on it."""
        del environment_id, num_workers
        return [_Endpoints(self._address)]

    def close_all(self) -> None:
        """Dismiss the workers."""
        self._workers.dismiss()
        self._server.stop(grace=_DISMISSED_S).wait()


class _Endpoints:
    def __init__(self, address: str) -> None:
        self._descriptor = endpoints_pb2.ApiServiceDescriptor(url=address)

    def data_api_service_descriptor(self) -> Any:
        return self._descriptor

    def state_api_service_descriptor(self) -> Any:
        return self._descriptor


class _Control(worker_handlers.BeamFnControlServicer):
    def __init__(self, manager: WorkerManager, data: "_Data", workers: Workers) -> None:
        super().__init__(manager)
        self._data = data
        self._workers = workers

    def Control(self, iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's
        name = dict(context.invocation_metadata())["worker_id"]
        control = self.get_conn_by_worker_id(name)
        worker = Worker(name, control, self._data.get_conn_by_worker_id(name))

        def lose() -> None:
            self._workers.lose(worker)
            worker.hang_up()

        self._workers.join(worker)
        if not context.add_callback(lose):  # it has disconnected meanwhile
            lose()
        yield from super().Control(_until_lost(iterator), context)


class _Data(data_plane.BeamFnDataServicer):
    def Data(self, elements_iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        yield from super().Data(_until_lost(elements_iterator), context)


def _until_lost(received: Iterator[Any]) -> Iterator[Any]:
    """Yield what a worker sends. That it ends is told by `Workers.lose`, not by an error here."""
    with contextlib.suppress(grpc.RpcError, StopIteration):
        yield from received
