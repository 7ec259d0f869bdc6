"""What all tasks of ours share: settings, clients, links, and which errors are worth a retry."""

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.errors import ApiError
from imagen_ops.google.clients import Clients
from imagen_ops.jobs.job import Job
from imagen_ops.jobs.links import JOB_LINKS, LinkedJob
from imagen_ops.settings import Settings, SettingsError

_log = logging.getLogger(__name__)


class DeploymentAccess:
    """Settings and clients of a task; read when the task runs, not when its DAG is parsed."""

    linked_job: LinkedJob | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        """The deployment's settings.

        Raises:
            SettingsError: they are incomplete; no retry mends that.
        """
        return Settings.from_environment()

    @functools.cached_property
    def clients(self) -> Clients:
        """What the task reaches the outside with."""
        return Clients(self.settings)

    def link(self, job: Job) -> None:
        """Let the task's links in the UI lead to `job`."""
        self.linked_job = LinkedJob(
            self.settings.console_url, self.settings.project, self.settings.region, job.id
        )


class ImagenOperator(DeploymentAccess, BaseOperator):
    """An operator of ours. A subclass implements `act`; its links lead to the job it works on."""

    operator_extra_links = JOB_LINKS

    def execute(self, context: Any) -> Any:
        """Act; what no retry mends fails the task at once."""
        with _no_retry_in_vain():
            return self.act(context)

    def act(self, context: Any) -> Any:
        """Do the work; the result goes to XCom."""
        raise NotImplementedError


class ImagenSensor(DeploymentAccess, BaseSensorOperator):
    """A sensor of ours, always in reschedule mode. A subclass implements `look`.

    A look that the service does not answer is followed by the next one: waiting is not over
    because Google's API has a bad minute.
    """

    operator_extra_links = JOB_LINKS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"mode": "reschedule", **kwargs})

    def execute(self, context: Any) -> Any:
        """Look, and come back later, until it is there or the time-out is over."""
        with _no_retry_in_vain():
            self.poke_interval = self.settings.poke_seconds
            return super().execute(context)

    def poke(self, context: Any) -> PokeReturnValue | bool:
        """Look once."""
        try:
            return self.check(context)
        except ApiError as error:
            if not error.passing:
                raise
            _log.warning("%s; looking again in %g s", error, self.poke_interval)
            return False

    def check(self, context: Any) -> PokeReturnValue | bool:
        """Return whether the waiting is over; a PokeReturnValue's value goes to XCom."""
        raise NotImplementedError


@contextlib.contextmanager
def _no_retry_in_vain() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise AirflowFailException(str(error)) from error
    except ApiError as error:
        if error.passing:
            raise
        raise AirflowFailException(str(error)) from error
