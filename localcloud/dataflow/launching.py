"""Turns a request into a job: launches of templates, and what all new jobs have in common."""

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
# The option that names the subscription a streaming job reads from.
_SUBSCRIPTION = "messages_subscription"


@dataclasses.dataclass(frozen=True)
class Launch:
    """A launch of a template, validated except for conflicts with other jobs."""

    template: Template
    name: str
    parameters: Mapping[str, str]
    environment: Mapping[str, Any]
    update: bool
    mappings: Mapping[str, str]
    validate_only: bool

    @staticmethod
    def from_request(body: dict[str, Any], read: Callable[[str, str], bytes]) -> "Launch":
        """Parse a LaunchFlexTemplateRequest. Blocks while it reads the template.

        Args:
            body: the request's JSON.
            read: returns an object's content, by bucket and name; raises LookupError.

        Raises:
            ApiError: 404, the template does not exist; 400, the template, the job's name, a
                parameter or the environment is invalid.
        """
        request = checked("LaunchFlexTemplateRequest", body)
        launch = request.get("launchParameter")
        if not launch:
            raise ApiError(400, "launchParameter: expected what to launch, got nothing.")
        check_name(launch.get("jobName") or "")
        template = Template.read(launch.get("containerSpecGcsPath") or "", read)
        parameters = launch.get("parameters") or {}
        template.check(parameters)
        environment = {**template.environment, **(launch.get("environment") or {})}
        flags.check_environment(environment)
        if launch.get("update") and template.program.type is not JobType.STREAMING:
            raise ApiError(400, "update: only streaming jobs can be updated.")
        return Launch(
            template,
            launch["jobName"],
            parameters,
            environment,
            bool(launch.get("update")),
            launch.get("transformNameMappings") or {},
            bool(request.get("validateOnly")),
        )

    def job(self, registry: Registry, project: str, location: str) -> Job:
        """Return the new job.

        Raises:
            ApiError: 400; the launch is an update, and no job of that name can be updated.
        """
        program = self.template.program
        replaces = replaced_job(registry, project, location, self.name) if self.update else None
        arguments = [f"--{name}={value}" for name, value in self.parameters.items()]
        arguments += flags.flags_of(self.environment)
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
            options=arguments,
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
    **fields: Any,
) -> Job:
    """Return a new QUEUED job that runs a program on this machine.

    Args:
        registry: where the job will be added; says where its metrics go.
        program: the program to run.
        name: the job's name.
        project: the job's project.
        location: the job's region.
        options: further command-line arguments of the program.
        fields: further fields of `Job`.
    """
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
        **fields,
    )


def program_of(kind: JobType, options: Mapping[str, Any]) -> Program:
    """Return the program that runs as a job of that type, with these options of its pipeline."""
    if options.get("prefetch"):
        return PROGRAMS["imagen-prefetch-import"]
    return next(program for program in PROGRAMS.values() if program.type is kind)


def check_name(name: str) -> None:
    """Validate a job's name.

    Raises:
        ApiError: 400; the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise ApiError(
            400,
            f"Invalid job name: {name!r}. The name must consist of only the characters [-a-z0-9], "
            "starting with a letter and ending with a letter or number, and have 1024 at most.",
        )


def replaced_job(registry: Registry, project: str, location: str, name: str) -> str:
    """Return the id of the active job of that name, which an update is about to replace.

    Raises:
        ApiError: 400; there is no such job, it is being cancelled or replaced, or it is not a
            streaming job.
    """
    holders = registry.active_jobs_named(project, location, name)
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
