"""What a task reaches the outside with. The hooks are imported when one is first asked for.

Importing Google's clients takes seconds: a DAG file must not, and a task should import no more
than it uses.
"""

import functools
from typing import TYPE_CHECKING

from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.history import History
    from imagen_ops.hooks.dataflow import DataflowJobsHook
    from imagen_ops.hooks.messages import MessagesHook
    from imagen_ops.hooks.monitoring import MonitoringHook
    from imagen_ops.hooks.objects import ObjectsHook

HEALTH_RECORDS = "records/health"
RESTART_RECORDS = "records/restarts"
BACKFILL_RECORDS = "records/backfills"
RUN_RECORDS = "records/runs"
REPLAY_RECORDS = "records/replays"


class Clients:
    """One of each, for the deployment that `settings` describe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def dataflow(self) -> "DataflowJobsHook":
        """Jobs."""
        from imagen_ops.hooks.dataflow import DataflowJobsHook

        return DataflowJobsHook(
            self._settings.gcp_conn_id,
            project=self._settings.project,
            region=self._settings.region,
        )

    @functools.cached_property
    def monitoring(self) -> "MonitoringHook":
        """Metrics."""
        from imagen_ops.hooks.monitoring import MonitoringHook

        return MonitoringHook(self._settings.gcp_conn_id, project=self._settings.project)

    @functools.cached_property
    def messages(self) -> "MessagesHook":
        """Pub/Sub."""
        from imagen_ops.hooks.messages import MessagesHook

        return MessagesHook(gcp_conn_id=self._settings.gcp_conn_id)

    @functools.cached_property
    def objects(self) -> "ObjectsHook":
        """Cloud Storage."""
        from imagen_ops.hooks.objects import ObjectsHook

        return ObjectsHook(gcp_conn_id=self._settings.gcp_conn_id)

    def history(self, folder: str) -> "History":
        """Return the records under one of the folders above."""
        from imagen_ops.history import History

        return History(self.objects.client(), self._settings.bucket, folder)
