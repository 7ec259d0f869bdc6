"""From a request to a job: the launch of a template, and what all new jobs have in common."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localcloud.dataflow import flags
from localcloud.dataflow.jobs import Job, new_job_id
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.schema import checked
from localcloud.dataflow.states import JobState, JobType
from localcloud.dataflow.templates import PROGRAMS, Program, Template
from localcloud.rest import ApiError, now

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
_RUNNER = "localcloud.runner.MicroBatchRunner"
# What the stream's and the backfill's option is called that says what a streaming job reads.
_SUBSCRIPTION = "messages_subscription"


@dataclasses.dataclass(frozen=True)
class Launch:
    """A launch of a template, checked as far as it can be without looking at other jobs."""

    template: Template
    name: str
    parameters: Mapping[str, str]
    environment: Mapping[str, Any]
    update: bool
    mappings: Mapping[str, str]
    validate_only: bool

    @staticmethod
    def of_request(body: dict[str, Any], read: Callable[[str, str], bytes]) -> "Launch":
        """Return what a LaunchFlexTemplateRequest asks for. Blocks while it reads the template.

        Raises:
            ApiError: 400 or 404; see `Template`, `check_name` and `flags.check_environment`.
        """
        request = checked("LaunchFlexTemplateRequest", body)
        given = request.get("launchParameter")
        if not given:
            raise ApiError(400, "launchParameter: expected what to launch, got nothing.")
        check_name(given.get("jobName") or "")
        template = Template.read(given.get("containerSpecGcsPath") or "", read)
        parameters = given.get("parameters") or {}
        template.check(parameters)
        environment = {**template.environment, **(given.get("environment") or {})}
        flags.check_environment(environment)
        if given.get("update") and template.program.type is not JobType.STREAMING:
            raise ApiError(400, "update: only streaming jobs can be updated.")
        return Launch(
            template,
            given["jobName"],
            parameters,
            environment,
            bool(given.get("update")),
            given.get("transformNameMappings") or {},
            bool(request.get("validateOnly")),
        )

    def job(self, registry: Registry, project: str, location: str) -> Job:
        """Return the new job.

        Raises:
            ApiError: 400; it is to replace a job, and there is none, or it is being replaced.
        """
        program = self.template.program
        replaces = replaced_job(registry, project, location, self.name) if self.update else None
        extra = [f"--{name}={value}" for name, value in self.parameters.items()]
        extra += flags.flags_of(self.environment)
        options = {
            "job_name": self.name,
            "project": project,
            "region": location,
            **self.parameters,
        }
        return new_job(
            registry,
            program,
            name=self.name,
            project=project,
            location=location,
            options=extra,
            labels=dict(self.environment.get("additionalUserLabels") or {}),
            parameters=dict(self.parameters),
            environment=flags.shown_environment(
                self.environment, options, streaming=program.type is JobType.STREAMING
            ),
            subscription=self.parameters.get(_SUBSCRIPTION),
            template=self.template.path,
            replaces=replaces,
        )


def new_job(
    registry: Registry,
    program: Program,
    *,
    name: str,
    project: str,
    location: str,
    options: Sequence[str],
    **others: Any,
) -> Job:
    """Return a new job, QUEUED, that runs `program` on this machine with these options."""
    job_id = new_job_id()
    arguments = [f"--job_name={name}", f"--project={project}", f"--region={location}", *options]
    if program.type is JobType.STREAMING:
        arguments += [f"--runner={_RUNNER}", f"--metrics_file={registry.folder(job_id).metrics}"]
    at = now()
    return Job(
        id=job_id,
        name=name,
        project=project,
        location=location,
        type=program.type,
        module=program.module,
        arguments=tuple(arguments),
        created_at=at,
        state_at=at,
        **others,
    )


def program_of(kind: JobType) -> Program:
    """Return the program that is a job of that kind."""
    return next(program for program in PROGRAMS.values() if program.type is kind)


def check_name(name: str) -> None:
    """Refuse, with 400, what is no name of a job."""
    if not _NAME.fullmatch(name):
        raise ApiError(
            400,
            f"Invalid job name: {name!r}. The name must consist of only the characters [-a-z0-9], "
            "starting with a letter and ending with a letter or number, and have 1024 at most.",
        )


def replaced_job(registry: Registry, project: str, location: str, name: str) -> str:
    """Return the id of the active job of that name, for another to take its place.

    Raises:
        ApiError: 400; there is none, it is being cancelled, or another is replacing it already.
    """
    holders = registry.holders(project, location, name)
    if not holders:
        raise ApiError(
            400,
            f"The job {name} cannot be updated: there is no running job of that name in {location}."
            " Launch it without update.",
        )
    if len(holders) > 1 or holders[0].state is JobState.CANCELLING or not holders[0].streaming:
        raise ApiError(
            400,
            f"The job {name} with id {holders[-1].id} cannot be updated now: it is cancelled or "
            "updated already, or no streaming job.",
        )
    return holders[0].id
