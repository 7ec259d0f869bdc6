"""Where the clients of Google's services connect: to Google, or where the environment says.

Must not connect anywhere itself.
"""

import dataclasses
from collections.abc import Iterable, Mapping

PUBSUB, STORAGE, VERTEX = "Pub/Sub", "Cloud Storage", "Vertex AI"
METADATA, DATAFLOW = "metadata server", "Dataflow"

# Locations with a host of their own:
# https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
_MULTI_REGIONS = frozenset({"us", "eu"})
# Google's names for the metadata server: google.auth.compute_engine._metadata.
_GOOGLES_METADATA = frozenset({"metadata.google.internal", "169.254.169.254"})


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one service is asked.

    Args:
        service: its name.
        variable: the environment variable with which Google's libraries are sent elsewhere.
        address: the host or URL in use.
        overridden: whether `address` comes from `variable`.
        stand_in: whether it is none of Google's: it is asked without encryption.
    """

    service: str
    variable: str
    address: str
    overridden: bool
    stand_in: bool

    def __str__(self) -> str:
        return f"{self.address} ({self.variable if self.overridden else 'Google'})"


def endpoints(environment: Mapping[str, str], location: str) -> dict[str, Endpoint]:
    """Return the endpoints of the services that jobs and commands call, by the service's name.

    Args:
        environment: the environment variables.
        location: the location that serves the model.
    """
    found = {}
    for service, variable, default in (
        (PUBSUB, "PUBSUB_EMULATOR_HOST", "pubsub.googleapis.com"),
        (STORAGE, "STORAGE_EMULATOR_HOST", "https://storage.googleapis.com"),
        (VERTEX, "GOOGLE_VERTEX_BASE_URL", _vertex_url(location)),
        (METADATA, "GCE_METADATA_HOST", "metadata.google.internal"),
        # gcloud's own name for it.
        (DATAFLOW, "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW", "https://dataflow.googleapis.com"),
    ):
        override = environment.get(variable) or ""
        # An https:// override is another of Google's addresses, such as a private endpoint.
        googles = override.startswith("https://") or override in _GOOGLES_METADATA
        found[service] = Endpoint(
            service,
            variable,
            override or default,
            overridden=bool(override),
            stand_in=bool(override) and not googles,
        )
    return found


def stand_ins_beside(endpoint: Endpoint, others: Iterable[Endpoint]) -> list[str]:
    """Return the variables that name stand-ins, if `endpoint` is none of these.

    With some stand-ins and some real services, a trial on one machine pays for images, or stores
    them where nobody looks.
    """
    return [] if endpoint.stand_in else [each.variable for each in others if each.stand_in]


def _vertex_url(location: str) -> str:
    """Return Google's URL of Vertex AI at a location."""
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    region = "" if location == "global" else f"{location}-"
    return f"https://{region}aiplatform.googleapis.com"
