"""A stand-in for Vertex AI's image models: `:generateContent` and `:predict`, with faults."""

from localcloud.vertex.app import vertex_app
from localcloud.vertex.behaviour import Behaviour, Settings

__all__ = ["Behaviour", "Settings", "vertex_app"]
