"""Whose a resource is, and whether the deployment lets money and data go there.

Its own project and bucket are always allowed, others only if the deployment lists them. Names alone
decide, without a call: the trigger forms' tasks and the jobs' options check use the same rules
before anything is read or launched.
"""

import dataclasses
import re
from collections.abc import Collection

# A project's id, with its domain if it has one, or its number:
# https://cloud.google.com/resource-manager/docs/creating-managing-projects
PROJECT_PATTERN = r"(?:[a-z][a-z0-9.-]*\.[a-z]+:)?[a-z][a-z0-9-]{0,61}[a-z0-9]|[0-9]{1,20}"
# How options and settings name a custom function: MODULE:FUNCTION.
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]{0,99}"
CUSTOM_FUNCTION_PATTERN = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER}){{0,9}}:{_IDENTIFIER}"
BUCKET_PATTERN = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"

_RESOURCE = re.compile(r"projects/([^/\s]+)/(?:topics|subscriptions|locations|regions|global)/\S+")
# Compute Engine's names of a network: whole, or partial, which are those of the job's own project.
_NETWORK = re.compile(
    r"(?:(?:https://[a-z.]+/compute/[a-z0-9]+/)?projects/([^/\s]+)/)?"
    r"(?:(?:regions/[^/\s]+/subnetworks|global/networks)/)?[^/\s:]+"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
# https://cloud.google.com/iam/docs/service-account-types: accounts that people create, and the
# default ones of App Engine and Compute Engine. The project example.com:p is written p.example.com.
_ACCOUNT = re.compile(
    r"[^@\s]+@(?P<created>[^@\s]+)\.iam\.gserviceaccount\.com"
    r"|(?P<app_engine>[^@\s]+)@appspot\.gserviceaccount\.com"
    r"|(?P<compute>[0-9]+)-compute@developer\.gserviceaccount\.com"
)
_SHOWN_CHARS = 200


def names_in(value: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list, each once, in their order."""
    names = (name.strip() for name in (value or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


@dataclasses.dataclass(frozen=True)
class Allowed:
    """Where money and data may go. Each method returns what is refused: no line, or one.

    The methods take the name of the option or setting that a value comes from, for the message, and
    the value; None if there is none.

    Args:
        project: the id of the deployment's own project.
        bucket: its own bucket, without `gs://`.
        projects: the ids or numbers of other projects that it may use.
        buckets: other buckets that it may use.
        projects_setting: what sets `projects`, for the messages.
        buckets_setting: what sets `buckets`.
    """

    project: str
    bucket: str
    projects: Collection[str] = ()
    buckets: Collection[str] = ()
    projects_setting: str = "--allowed_projects"
    buckets_setting: str = "--allowed_buckets"

    def resource(self, name: str, value: str | None) -> list[str]:
        """Check a topic, a subscription or an endpoint: anything called `projects/PROJECT/…`."""
        match = _RESOURCE.fullmatch(value or "")
        return self._project(name, value, match[1]) if match else []

    def network(self, name: str, value: str | None) -> list[str]:
        """Check a network or a subnetwork. A name without a project is of the own project."""
        if not value:
            return []
        match = _NETWORK.fullmatch(value)
        if not match:
            return [
                f"{name}: expected regions/REGION/subnetworks/NAME, or that after "
                f"projects/PROJECT/, got {_quoted(value)}"
            ]
        return self._project(name, value, match[1]) if match[1] else []

    def account(self, name: str, value: str | None) -> list[str]:
        """Check a service account by its email address."""
        if not value:
            return []
        match = _ACCOUNT.fullmatch(value)
        if not match:
            return [
                f"{name}: expected a service account such as NAME@PROJECT.iam.gserviceaccount.com, "
                f"whose address tells its project, got {_quoted(value)}"
            ]
        written = match["created"] or match["app_engine"]
        return self._project(name, value, match["compute"] or _with_domain(written))

    def path(self, name: str, value: str | None) -> list[str]:
        """Check the path of a file or folder. A local path is of no bucket."""
        match = _SCHEME.match(value or "")
        if not match or match[1] == "file":
            return []
        if match[1] != "gs":
            return [
                f"{name}: expected gs://BUCKET/… in lower case, or a local path, "
                f"got {_quoted(value)}"
            ]
        if match[2] == self.bucket or match[2] in self.buckets:
            return []
        return [
            f"{name}: {_quoted(value)} is not in gs://{self.bucket}, and {self.buckets_setting} "
            f"doesn't list the bucket {_quoted(match[2])}; use the deployment's bucket, or list it "
            "there"
        ]

    def _project(self, name: str, value: str | None, project: str) -> list[str]:
        if project == self.project or project in self.projects:
            return []
        if project.isdecimal():
            why = (
                f"has a project's number, and {self.projects_setting} doesn't list "
                f"{project[:_SHOWN_CHARS]}; write the project's id instead, or list the number "
                f"there, even if it is {self.project}'s own: a name doesn't tell whose number it is"
            )
        else:
            why = (
                f"is of the project {_quoted(project)}, not of {self.project}, and "
                f"{self.projects_setting} doesn't list it; use one of {self.project}, or list "
                "the project there"
            )
        return [f"{name}: {_quoted(value)} {why}"]


def _with_domain(written: str) -> str:
    """Return the id of a project from how an address has it: `p.example.com` is `example.com:p`."""
    project, _, domain = written.partition(".")
    return f"{domain}:{project}" if domain else project


def _quoted(value: str | None) -> str:
    text = value or ""
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")
