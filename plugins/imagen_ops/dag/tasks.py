"""The base classes of all tasks: settings, clients, links, and which errors are worth a retry."""

import contextlib
import functools
import logging
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from typing_extensions import override

from imagen_ops.dag.conf import refuse_unknown_fields
from imagen_ops.dag.lineage import Lineage
from imagen_ops.errors import ApiError
from imagen_ops.google.clients import Clients
from imagen_ops.jobs.job import Job
from imagen_ops.jobs.links import JOB_LINKS, LinkedBatch, LinkedJob
from imagen_ops.records.actions import Stage, action_record
from imagen_ops.records.folders import ACTION_RECORDS
from imagen_ops.settings import Settings, SettingsError

_log = logging.getLogger(__name__)


class DeploymentAccess:
    """A task's settings and clients, read when the task runs and not when its DAG is parsed."""

    linked_job: LinkedJob | None = None
    linked_batch: LinkedBatch | None = None
    # What the task, or the job that it waits for, reads and writes. Set when it is known.
    lineage = Lineage()

    @functools.cached_property
    def settings(self) -> Settings:
        """The deployment's settings.

        Raises:
            SettingsError: settings are missing or malformed. The task fails without a retry.
        """
        return Settings.from_environment()

    @functools.cached_property
    def clients(self) -> Clients:
        """The hooks for Google's APIs."""
        return Clients(self.settings)

    def link(self, job: Job) -> None:
        """Make the task's links in the Airflow UI lead to `job`."""
        self.linked_job = LinkedJob(
            self.settings.console_url, self.settings.project, self.settings.region, job.id
        )

    def link_batch(self, name: str) -> None:
        """Make the task's link in the Airflow UI lead to a batch job of Vertex AI, by its name."""
        self.linked_batch = LinkedBatch(self.settings.console_url, name)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell Airflow's OpenLineage provider what was read and written.

        The provider, if it is installed, calls this after a try that succeeded or failed.
        """
        return self.lineage.to_openlineage()

    def note(self, context: Any, stage: Stage, **facts: Any) -> None:
        """Leave a record of what this run has done, for people. Never raises: the deed counts more.

        Args:
            context: the Airflow context of the task.
            stage: how far the run has got.
            facts: see `action_record`.
        """
        try:
            record = action_record(context["dag_run"], stage, **facts)
            self.clients.history(ACTION_RECORDS).put(record)
        except Exception as error:
            _log.warning(
                "the page will not show that this run is '%s': its record was not written: %s: %s",
                stage,
                type(error).__name__,
                error,
            )


class ImagenOperator(DeploymentAccess, BaseOperator):
    """Base class of all operators. A subclass implements `act`.

    `execute` calls `act`, returns what it returns, and fails the task without a retry when a retry
    cannot help, or when the run was triggered with fields that its DAG doesn't have. The task's
    links lead to the job passed to `link`.
    """

    operator_extra_links = JOB_LINKS

    @override
    def execute(self, context: Any) -> Any:
        with errors_first():
            refuse_unknown_fields(context["dag_run"], self)
            return self.act(context)

    def act(self, context: Any) -> Any:
        """Do the work of the task.

        Airflow may run a task again after any failure, so doing the work twice must be safe.

        Args:
            context: the Airflow context of the task.

        Returns:
            The task's XCom value: JSON, or None for no value. The subclass documents it.

        Raises:
            ApiError: a call to Google failed. The task is retried if the error is transient and
                otherwise fails at once.
            SettingsError: settings are missing or malformed. The task fails at once.
            AirflowFailException: retrying is pointless. The task fails at once.
            AirflowSkipException: there is nothing to do. The task is skipped.
            Exception: any other exception fails this try, and Airflow retries the task.
        """
        raise NotImplementedError


class ImagenSensor(DeploymentAccess, BaseSensorOperator):
    """Base class of all sensors. A subclass implements `check`.

    A sensor runs in reschedule mode, so it holds no worker slot between two checks. `execute` sets
    the interval from `IMAGEN_POKE_SECONDS` and fails the task without a retry when a retry cannot
    help. `poke` calls `check`, and treats a transient `ApiError` as "not yet": a brief outage of
    Google's API must not end the wait. The task's links lead to the job passed to `link`.

    `timeout` limits the whole wait. Airflow's own check starts over with each retry
    (`findings/airflow_sensor_timeout.sh`), so the moment at which the wait began is kept in the
    task's state, which the retries of a task share (`airflow.models.task_state_store`). Clearing
    the task begins a new wait.
    """

    operator_extra_links: Collection[BaseOperatorLink] = JOB_LINKS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"mode": "reschedule", **kwargs})

    @override
    def execute(self, context: Any) -> Any:
        with errors_first():
            refuse_unknown_fields(context["dag_run"], self)
            self.poke_interval = self.settings.poke_seconds
            return super().execute(context)

    @override
    def poke(self, context: Any) -> PokeReturnValue | bool:
        result: PokeReturnValue | bool = False
        last = "what it waits for has not come"
        try:
            if result := self.check(context):
                return result
        except ApiError as error:
            if not error.transient:
                raise
            _log.warning("%s; checking again in %g s", error, self.poke_interval)
            last = str(error)
        self.end_if_late(context, last)
        return result

    def end_if_late(self, context: Any, last: str) -> None:
        """End the wait if its time is up.

        Args:
            context: the Airflow context of the task.
            last: what the last check found, for the message.

        Raises:
            AirflowSensorTimeout: it is. Airflow doesn't retry the task.
        """
        began = self.began(context)
        if datetime.now(UTC) - began > timedelta(seconds=self.timeout):
            raise AirflowSensorTimeout(
                f"{self.task_id} has waited since {began:%F %T} UTC, over all its tries, and its "
                f"limit is {self.timeout / 3600:g} h: {last}. What to do: see what it "
                "waits for (this task's links), then clear the task to wait again"
            )

    def began(self, context: Any) -> datetime:
        """Return when the wait began: in the first try since the task was last cleared."""
        ti, store = context["ti"], context["task_state_store"]
        # Clearing a task adds its retries to the tries that it has had (`clear_task_instances`).
        key = f"waiting_since_try_{ti.max_tries - self.retries + 1}"
        if value := store.get(key):
            return datetime.fromisoformat(str(value))
        now = datetime.now(UTC)
        store.set(key, now.isoformat())
        return now

    def check(self, context: Any) -> PokeReturnValue | bool:
        """Check once whether the wait is over.

        Every check runs in a new process, so nothing stored on `self` survives until the next one.

        Args:
            context: the Airflow context of the task.

        Returns:
            Whether the wait is over. A `PokeReturnValue` also carries the task's XCom value, which
            the subclass documents; it counts only when the wait is over.

        Raises:
            ApiError: a call to Google failed. If the error is transient, the sensor keeps waiting.
                Otherwise the task fails at once.
            SettingsError: settings are missing or malformed. The task fails at once.
            AirflowFailException: what the task waits for cannot happen. The task fails at once.
            AirflowSkipException: there is nothing to wait for. The task is skipped.
            Exception: any other exception fails this try, and Airflow retries the task.
        """
        raise NotImplementedError


@contextlib.contextmanager
def errors_first() -> Iterator[None]:
    """Say what an error means before Airflow logs its stack, and don't retry what can't succeed.

    The message is the first line of level ERROR in the task's log. An error that a retry cannot fix
    becomes an AirflowFailException.
    """
    try:
        yield
    except AirflowSkipException as error:
        _log.info("skipped: %s", error)
        raise
    except AirflowRescheduleException:
        raise
    except SettingsError as error:
        _log.error("%s", error)
        raise AirflowFailException(str(error)) from None
    except ApiError as error:
        _log.error("%s", error)
        if error.transient:
            raise
        raise AirflowFailException(str(error)) from None
    except AirflowTaskTimeout:
        _log.error("this try has taken longer than the task's execution_timeout: Airflow ends it")
        raise
    except AirflowException as error:
        _log.error("%s", error)
        raise
    except Exception as error:
        _log.error("%s: %s. Airflow retries the task", type(error).__name__, error)
        raise
