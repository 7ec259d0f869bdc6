"""Remembers the images of the newest prompts of a backfill.

A file can have a million equal rows. Each gets its own prediction, but only the first one of a
process looks into storage. A stream remembers nothing: somebody may delete images while it runs.
"""

from collections import OrderedDict

from beam_jobs.engine.image_set import ImageSet

# With four paths of 100 characters each, about 15 MB.
MOST = 16_384


class Finished:
    """The images of prompts by digest; the prompts that were last asked for are kept.

    Args:
        most: how many prompts to remember; 0 for none.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._images: OrderedDict[str, ImageSet] = OrderedDict()

    def images(self, digest: str) -> ImageSet | None:
        """Return a prompt's images; None if they are not remembered."""
        images = self._images.get(digest)
        if images is not None:
            self._images.move_to_end(digest)
        return images

    def add(self, digest: str, images: ImageSet) -> None:
        """Remember the images of a prompt, and forget the one that was not asked for longest."""
        if self._most:
            self._images[digest] = images
            self._images.move_to_end(digest)
            if len(self._images) > self._most:
                self._images.popitem(last=False)
