"""Flex templates: reads their specs, and validates parameters against their metadata."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from localcloud.dataflow.states import JobType
from localcloud.rest import ApiError

_PATH = re.compile(r"gs://([^/]+)/(.+)")


@dataclasses.dataclass(frozen=True)
class Program:
    """What an image contains: the Python module to run, and the type of job that it is."""

    module: str
    type: JobType


# By the last path component of the image's name. This replaces pulling the image.
PROGRAMS = {
    "imagen-stream": Program("beam_jobs.stream", JobType.STREAMING),
    "imagen-backfill": Program("beam_jobs.backfill", JobType.BATCH),
    "imagen-prefetch-import": Program("beam_jobs.prefetch_import", JobType.BATCH),
}


@dataclasses.dataclass(frozen=True)
class Template:
    """A template's spec; `metadata` and `environment` as in its JSON."""

    path: str
    program: Program
    image: str
    metadata: Mapping[str, Any]
    environment: Mapping[str, Any]

    @staticmethod
    def read(path: str, read: Callable[[str, str], bytes]) -> "Template":
        """Return the template at a `gs://` path.

        Args:
            path: the launch's `containerSpecGcsPath`.
            read: returns an object's content, by bucket and name; raises LookupError.

        Raises:
            ApiError: 404, the object does not exist; 400, it is not a template, or its image is
                unknown.
        """
        match = _PATH.fullmatch(path)
        if not match:
            raise ApiError(400, f"containerSpecGcsPath: expected gs://BUCKET/OBJECT, got {path!r}.")
        try:
            spec = json.loads(read(*match.groups()))
        except LookupError:
            raise ApiError(
                404,
                f"Unable to open template file: {path}. It is not there: put the template's spec "
                "there, or correct containerSpecGcsPath.",
            ) from None
        except ValueError as error:
            raise ApiError(400, f"Invalid template file {path}: not JSON: {error}") from None
        if not isinstance(spec, dict) or not isinstance(spec.get("image"), str):
            raise ApiError(
                400, f'Invalid template file {path}: expected {{"image": …, "sdkInfo": …}}.'
            )
        name = spec["image"].rpartition("/")[2].partition("@")[0].partition(":")[0]
        program = PROGRAMS.get(name)
        if program is None:
            raise ApiError(
                400,
                f"Unable to pull image {spec['image']}: known here are {', '.join(PROGRAMS)}.",
            )
        return Template(
            path,
            program,
            spec["image"],
            spec.get("metadata") or {},
            spec.get("defaultEnvironment") or {},
        )

    def check(self, parameters: Mapping[str, str]) -> None:
        """Validate parameters against the metadata, as the service does.

        Like the service, a template without metadata accepts all parameters.

        Raises:
            ApiError: 400, listing every parameter that is missing, unknown or matches no regex.
        """
        if not self.metadata:
            return
        known = {each["name"]: each for each in self.metadata.get("parameters", ())}
        violations = []
        for name, each in known.items():
            if name not in parameters:
                if not each.get("isOptional"):
                    violations.append((name, "Missing required parameter"))
                continue
            violations += [
                (name, f"Parameter didn't match regex '{regex}'")
                for regex in each.get("regexes") or ()
                if not re.fullmatch(regex, parameters[name])
            ]
        violations += [(n, "Unrecognized parameter") for n in parameters if n not in known]
        if violations:
            listed = "\n".join(f"{name}: {what}" for name, what in violations)
            raise ApiError(
                400,
                f"The template parameters are invalid. Details: \n{listed}",
                details=[
                    {
                        "@type": "type.googleapis.com/"
                        "google.dataflow.v1beta3.InvalidTemplateParameters",
                        "parameterViolations": [
                            {"parameter": name, "description": what} for name, what in violations
                        ],
                    }
                ],
            )
