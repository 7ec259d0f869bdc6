"""Validates the names of topics, subscriptions and projects.

An id has 3 to 255 characters, begins with a letter, consists of letters, digits and `-._~+%`, and
does not begin with `goog`: https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
"""

import re

from localcloud.pubsub.errors import PubSubError, invalid

DELETED_TOPIC = "_deleted-topic_"
"""The topic of a subscription whose topic has been deleted."""

_PROJECT = re.compile(r"projects/[^/]+")
_RESOURCE = re.compile(
    r"projects/[^/]+/(?P<kind>topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
)


def check_topic(name: str) -> str:
    """Return `name`; raise INVALID_ARGUMENT unless it is `projects/<project>/topics/<topic>`."""
    return _check("topics", name)


def check_subscription(name: str) -> str:
    """Return `name`; raise INVALID_ARGUMENT unless it is `projects/<p>/subscriptions/<id>`."""
    return _check("subscriptions", name)


def check_project(name: str) -> str:
    """Return `name`; raise INVALID_ARGUMENT unless it is `projects/<project>`."""
    if not _PROJECT.fullmatch(name):
        raise invalid(f"Invalid [projects] name: (name={name}). Expected projects/<project>.")
    return name


def project_of(name: str) -> str:
    """Return the project id in the full name of a topic or subscription."""
    return name.split("/", 2)[1]


def _check(kind: str, name: str) -> str:
    match = _RESOURCE.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise _bad_name(kind, name)
    return name


def _bad_name(kind: str, name: str) -> PubSubError:
    return invalid(
        f"Invalid [{kind}] name: (name={name}). Expected projects/<project>/{kind}/<id>, where the "
        "id has 3 to 255 letters, digits or -._~+%, begins with a letter and not with goog."
    )
