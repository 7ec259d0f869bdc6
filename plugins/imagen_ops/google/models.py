"""Asks Vertex AI whether a model is there, without paying for an image."""

import os
from typing import Any

from google.api_core.client_options import ClientOptions
from typing_extensions import override

from imagen_ops.google.rest import RestHook

# google-genai, which the jobs use, reads it too.
_BASE_URL = "GOOGLE_VERTEX_BASE_URL"
# Locations that have a host of their own:
# https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
_MULTI_REGIONS = frozenset({"us", "eu"})
_PROBE = {"contents": [{"role": "user", "parts": [{"text": "a fox"}]}]}


class ModelsHook(RestHook):
    """The models that a project can call at one location.

    Raises:
        ApiError: by every method, if Vertex AI refuses or does not answer.
    """

    api = "aiplatform"
    version = "v1"

    def __init__(self, gcp_conn_id: str, *, project: str, location: str) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id)
        self._project = project
        self._location = location

    @override
    def get_client_options(self, api_endpoint_override: str | None = None) -> Any:
        url = self._endpoints().get(self.api) or os.environ.get(_BASE_URL)
        return ClientOptions(api_endpoint=url or host_of(self._location))

    def count_tokens(self, model: str) -> None:
        """Ask a Gemini model to count the tokens of a prompt.

        Nothing is generated and nothing is charged for, and the answer to a model that does not
        exist, or that the project may not call, is that of a call:
        https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/get-token-count
        """
        name = (
            f"projects/{self._project}/locations/{self._location}/publishers/google/models/{model}"
        )
        self.call(
            f"asking {model} at {self._location}",
            lambda service: (
                service.projects()
                .locations()
                .publishers()
                .models()
                .countTokens(endpoint=name, body=_PROBE)
            ),
        )

    def publisher_model(self, model: str) -> None:
        """Read what Google publishes about a model. One that speaks `:predict` counts no tokens."""
        self.call(
            f"reading the model {model}",
            lambda service: (
                service.publishers().models().get(name=f"publishers/google/models/{model}")
            ),
        )

    def endpoint(self, name: str) -> dict[str, Any]:
        """Return an endpoint's resource.

        Args:
            name: projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT.
        """
        return self.call(
            f"reading {name}",
            lambda service: service.projects().locations().endpoints().get(name=name),
        )


def host_of(location: str) -> str:
    """Return the URL of Vertex AI at a location."""
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    region = "" if location == "global" else f"{location}-"
    return f"https://{region}aiplatform.googleapis.com"
