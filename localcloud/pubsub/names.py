"""Which names Pub/Sub accepts for topics, subscriptions and projects.

The rule (https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names): an id has 3 to 255
characters, begins with a letter, holds letters, digits and `-._~+%`, and does not begin with
`goog`.
"""

import re

from localcloud.pubsub.errors import PubSubError, invalid

DELETED_TOPIC = "_deleted-topic_"
"""What a subscription names as its topic once that has been deleted."""

_PROJECT = re.compile(r"projects/[^/]+")
_RESOURCE = re.compile(
    r"projects/[^/]+/(?P<kind>topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
)


def check_topic(name: str) -> str:
    """`name` itself, or INVALID_ARGUMENT when it is no `projects/<project>/topics/<topic>`."""
    return _check("topics", name)


def check_subscription(name: str) -> str:
    """`name` itself, or INVALID_ARGUMENT if it is no `projects/<project>/subscriptions/<sub>`."""
    return _check("subscriptions", name)


def check_project(name: str) -> str:
    """`name` itself, or INVALID_ARGUMENT when it is not `projects/<project>`."""
    if not _PROJECT.fullmatch(name):
        raise invalid(f"Invalid [projects] name: (name={name}). Expected projects/<project>.")
    return name


def project_of(name: str) -> str:
    """The project id inside the full name of a topic or subscription."""
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
