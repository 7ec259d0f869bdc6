"""What is known of each request of a part: which image it is for, and how to tell it. Pure.

The service keeps no order. What comes back with an image is the request, with its label, so the
manifest says what that label stands for. It is the only source of what is stored for an image:
nothing that an output row says about itself is believed.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from beam_jobs.catalog import MAX_IMAGES
from beam_jobs.prompts.references import Reference

# An image of a prompt: the name of its object in the store, without the extension.
_IMAGE = re.compile(r"([0-9a-f]{32})-([0-9])")
_TEXTS = ("image", "model", "request", "payer")


class ManifestError(ValueError):
    """A line is not one of a manifest. Says what is wrong with it, and quotes no prompt."""


@dataclasses.dataclass(frozen=True, slots=True)
class ManifestRow:
    """What is known of one request.

    Attributes:
        image: the image that it is for, `DIGEST-INDEX`, which is also its label.
        images: how many images the prompt asks for.
        model: the model that is asked.
        deciding: what decides the image, by name, as the image record keeps it.
        references: what the model is shown, with what it held when the request was made.
        request: the hash of the request's contents, as `beam_jobs.prefetch.request_row` makes it.
        payer: the delivery that pays, as `beam_jobs.images.receipt.payer_of` names it.
    """

    image: str
    images: int
    model: str
    deciding: Mapping[str, Any]
    references: tuple[Reference, ...]
    request: str
    payer: str

    @property
    def digest(self) -> str:
        """The prompt's digest."""
        return self.image[:32]

    @property
    def index(self) -> int:
        """The image's index among the prompt's images, from 0."""
        return int(self.image[33:])

    def to_line(self) -> bytes:
        """Return the row as a line of JSON, with its line end."""
        fields = {
            "image": self.image,
            "images": self.images,
            "model": self.model,
            "deciding": self.deciding,
            "references": [
                {"path": each.path, "content": each.content, "mime_type": each.mime_type}
                for each in self.references
            ],
            "request": self.request,
            "payer": self.payer,
        }
        # In ASCII: some readers take U+2028 in a text for a line end.
        return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, line: bytes | str) -> "ManifestRow":
        """Return the row that a line holds.

        Raises:
            ManifestError: it is none.
        """
        try:
            fields = json.loads(line)
            for name in _TEXTS:
                if not isinstance(fields[name], str):
                    raise ManifestError(f"{name}: expected a text")
            match, images = _IMAGE.fullmatch(fields["image"]), fields["images"]
            if type(images) is not int or not 1 <= images <= MAX_IMAGES:
                raise ManifestError(f"images: expected a number from 1 to {MAX_IMAGES}")
            if not match or int(match[2]) >= images:
                raise ManifestError("image: expected DIGEST-INDEX of one of the images")
            if not isinstance(fields["deciding"], dict):
                raise ManifestError("deciding: expected an object")
            references = tuple(
                Reference(
                    path=str(each["path"]),
                    content=each.get("content"),
                    mime_type=each.get("mime_type"),
                )
                for each in fields["references"]
            )
        except ManifestError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Without the error's text, which may quote the prompt.
            raise ManifestError(f"not a row of a manifest ({type(error).__name__})") from None
        return cls(
            images=images,
            deciding=fields["deciding"],
            references=references,
            **{name: fields[name] for name in _TEXTS},
        )
