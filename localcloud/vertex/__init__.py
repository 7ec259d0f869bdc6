"""Vertex AI's two image protocols, `:generateContent` and `:predict`, with pictures and faults."""

from localcloud.vertex.app import vertex_app
from localcloud.vertex.behaviour import Behaviour, Settings

__all__ = ["Behaviour", "Settings", "vertex_app"]
