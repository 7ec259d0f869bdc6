"""What the containers behind `:predict` take and answer.

Imagen: the API reference. The others: public notebooks in GoogleCloudPlatform/vertex-ai-samples,
`notebooks/community/model_garden/model_garden_pytorch_flux.ipynb` and
`notebooks/community/vertex_endpoints/torchserve/dreambooth_stablediffusion.ipynb`.
"""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from localcloud.vertex.calls import ApiError


class Container(StrEnum):
    """What serves an endpoint."""

    IMAGEN = "imagen"
    FLUX = "flux"
    STABLE_DIFFUSION = "stable_diffusion"

    @property
    def field(self) -> str:
        """The field of an instance that holds the prompt."""
        return "text" if self is Container.FLUX else "prompt"

    def answer(self, encoded: bytes) -> bytes:
        """Return a prediction with one picture, as JSON.

        Args:
            encoded: the picture in base64.
        """
        if self is Container.FLUX:
            return b'{"output":"' + encoded + b'"}'
        if self is Container.STABLE_DIFFUSION:
            return b'"' + encoded + b'"'
        return b'{"mimeType":"image/png","bytesBase64Encoded":"' + encoded + b'"}'


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a request asks a container for."""

    container: Container
    prompt: str
    count: int = 1
    seed: int | None = None
    aspect_ratio: str = "1:1"
    image_size: str = "1K"

    @classmethod
    def parse(cls, body: Mapping[str, Any], container: Container) -> "Prediction":
        """Parse the body of a request.

        Raises:
            ApiError: 400; the container does not take it.
        """
        try:
            prompt = body["instances"][0][container.field]
            parameters = body.get("parameters") or {}
            if not isinstance(prompt, str):
                raise TypeError
            seed = None if parameters.get("seed") is None else int(parameters["seed"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ApiError(400, f"Expected instances[0].{container.field}.") from None
        if container is not Container.IMAGEN:
            # One picture for each instance, whatever else is asked for.
            width, height = parameters.get("width", 1024), parameters.get("height", 1024)
            size = "2K" if max(width, height) > 1024 else "1K"
            return cls(container, prompt, 1, seed, f"{width}:{height}", size)
        count = parameters.get("sampleCount", 1)
        if not isinstance(count, int) or not 1 <= count <= 4:
            raise ApiError(400, f"sampleCount: expected a whole number of 1 to 4, got {count!r}.")
        if seed is not None and parameters.get("addWatermark", True):
            raise ApiError(400, "Seed is not supported when watermark is enabled.")
        return cls(
            container,
            prompt,
            count,
            seed,
            parameters.get("aspectRatio") or "1:1",
            parameters.get("sampleImageSize") or "1K",
        )
