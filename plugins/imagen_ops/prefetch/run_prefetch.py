"""The prefetch of one run: what is known of it, its batch jobs, and its share of the budget."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from imagen_ops.google.rest import explained
from imagen_ops.jobs.launch_request import prefetch_folder
from imagen_ops.prefetch.batches import Batches
from imagen_ops.prefetch.budget_ledger import note_share
from imagen_ops.prefetch.share import BatchShare, share_of
from imagen_ops.prefetch.state import Prefetch, StateFile
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.clients import Clients


class RunPrefetch:
    """The prefetch of one run. Its methods raise `ApiError`.

    Args:
        settings: of the deployment.
        clients: to reach Google's APIs.
        run_id: Airflow's id of the run.
        run_label: the label value of the run.
    """

    def __init__(
        self, settings: Settings, clients: "Clients", *, run_id: str, run_label: str
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._run_id = run_id
        self.run_label = run_label
        self.folder = prefetch_folder(settings, run_label)

    @functools.cached_property
    def file(self) -> StateFile:
        """What the run's tasks know, in the bucket."""
        return StateFile(self._clients.storage.client(), self.folder.state)

    @property
    def batches(self) -> Batches:
        """The run's batch jobs."""
        return Batches(self._clients, self.file, self.run_label)

    def read(self) -> Prefetch | None:
        """Return what is known; None if the run has no prefetch."""
        with explained(f"reading {self.folder.state}"):
            return self.file.read()

    def known(self) -> Prefetch:
        """Return what is known of a run that has a prefetch.

        Raises:
            ValueError: it has none.
        """
        with explained(f"reading {self.folder.state}"):
            return self.file.known()

    def start(self, new: Prefetch) -> Prefetch:
        """Write down what the run is about to order, unless it has; return what holds."""
        with explained(f"writing {self.folder.state}"):
            return self.file.start(new)

    def change(self, change: Callable[[Prefetch], Prefetch]) -> Prefetch:
        """Change what is known, and return it."""
        with explained(f"writing {self.folder.state}"):
            return self.file.change(change)

    def reserve(self, state: Prefetch) -> None:
        """Take what all parts are likely to cost from the run's budget, before it is ordered."""
        images = sum(part.rows for part in state.parts)
        micro_usd = sum(part.likely_micro_usd for part in state.parts)
        self._note(BatchShare(images, micro_usd))

    def settle(self, state: Prefetch) -> BatchShare:
        """Take from the run's budget what its batch jobs have cost, as far as is known."""
        share = share_of(state)
        self._note(share)
        return share

    def _note(self, share: BatchShare) -> None:
        note_share(self._settings, self._clients, self._run_id, share)
