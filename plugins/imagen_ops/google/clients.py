"""What a task reaches the outside with. The hooks are imported when one is first asked for.

Importing Google's clients takes seconds: a DAG file must not, and a task should import no more
than it uses.
"""

import functools
from typing import TYPE_CHECKING

from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.dataflow import DataflowJobsHook
    from imagen_ops.google.monitoring import MonitoringHook
    from imagen_ops.google.pubsub import PubSubMessagesHook
    from imagen_ops.google.storage import StorageHook
    from imagen_ops.records.history import History


class Clients:
    """One of each, for the deployment that `settings` describe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def dataflow(self) -> "DataflowJobsHook":
        """Jobs."""
        from imagen_ops.google.dataflow import DataflowJobsHook

        return DataflowJobsHook(
            self._settings.gcp_conn_id,
            project=self._settings.project,
            region=self._settings.region,
        )

    @functools.cached_property
    def monitoring(self) -> "MonitoringHook":
        """Metrics."""
        from imagen_ops.google.monitoring import MonitoringHook

        return MonitoringHook(self._settings.gcp_conn_id, project=self._settings.project)

    @functools.cached_property
    def pubsub(self) -> "PubSubMessagesHook":
        """Pub/Sub."""
        from imagen_ops.google.pubsub import PubSubMessagesHook

        return PubSubMessagesHook(gcp_conn_id=self._settings.gcp_conn_id)

    @functools.cached_property
    def storage(self) -> "StorageHook":
        """Cloud Storage."""
        from imagen_ops.google.storage import StorageHook

        return StorageHook(gcp_conn_id=self._settings.gcp_conn_id)

    def history(self, folder: str) -> "History":
        """Return the records under one of the folders above."""
        from imagen_ops.records.history import History

        return History(self.storage.client(), self._settings.bucket, folder)
