"""The hooks that a task uses, each imported when it is first needed.

Importing Google's clients takes seconds. A DAG file must not import them, and a task should import
only those that it uses.
"""

import functools
from typing import TYPE_CHECKING, Any

from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.batches import BatchesHook
    from imagen_ops.google.dataflow import DataflowJobsHook
    from imagen_ops.google.models import ModelsHook
    from imagen_ops.google.monitoring import MonitoringHook
    from imagen_ops.google.pubsub import PubSubMessagesHook
    from imagen_ops.google.storage import StorageHook
    from imagen_ops.records.history import History
    from imagen_ops.records.launches import Launches


class Clients:
    """One hook per API, for the deployment that `settings` describe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __deepcopy__(self, memo: dict[int, Any]) -> "Clients":
        """Return one without connections: Google's clients refuse to be copied.

        A transport of OpenLineage that changes events copies them, and with them the task.
        """
        return Clients(self._settings)

    @functools.cached_property
    def dataflow(self) -> "DataflowJobsHook":
        """The Dataflow jobs of the deployment's project and region."""
        from imagen_ops.google.dataflow import DataflowJobsHook

        return DataflowJobsHook(
            self._settings.gcp_conn_id,
            project=self._settings.project,
            region=self._settings.region,
            launches=self.launches,
        )

    @functools.cached_property
    def monitoring(self) -> "MonitoringHook":
        """Cloud Monitoring's metrics of the deployment's project."""
        from imagen_ops.google.monitoring import MonitoringHook

        return MonitoringHook(self._settings.gcp_conn_id, project=self._settings.project)

    @functools.cached_property
    def pubsub(self) -> "PubSubMessagesHook":
        """Pub/Sub's topics, subscriptions and messages."""
        from imagen_ops.google.pubsub import PubSubMessagesHook

        return PubSubMessagesHook(gcp_conn_id=self._settings.gcp_conn_id)

    @functools.cached_property
    def storage(self) -> "StorageHook":
        """Cloud Storage's buckets and objects."""
        from imagen_ops.google.storage import StorageHook

        return StorageHook(gcp_conn_id=self._settings.gcp_conn_id)

    def models(self, location: str) -> "ModelsHook":
        """Return the models of Vertex AI at a location."""
        from imagen_ops.google.models import ModelsHook

        return ModelsHook(
            self._settings.gcp_conn_id, project=self._settings.project, location=location
        )

    def batches(self, location: str) -> "BatchesHook":
        """Return the batch jobs of Vertex AI at a location."""
        from imagen_ops.google.batches import BatchesHook

        return BatchesHook(
            self._settings.gcp_conn_id, project=self._settings.project, location=location
        )

    def history(self, folder: str) -> "History":
        """Return the records in one of the folders that `imagen_ops.records.folders` names."""
        from imagen_ops.records.history import History

        return History(self.storage.client(), self._settings.bucket, folder)

    def launches(self) -> "Launches":
        """Return what these DAGs have launched, by job name."""
        from imagen_ops.records.launches import Launches

        return Launches(self.storage.client(), self._settings.bucket)
