"""Looks up what the references of prompts hold, in a task that has no event loop.

Must not import Google's client: whoever looks brings one.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.reference_file import (
    FIRST_BYTES,
    ReferenceFile,
    content_in,
    type_in,
    with_files,
)

if TYPE_CHECKING:
    from google.cloud.storage import Client

# References that are remembered. Many prompts in a row show the same.
MAX_KNOWN = 50_000


class ReferenceFiles:
    """What is known of references.

    Args:
        client: must be allowed to read them.
        pool: runs several lookups at once.
    """

    def __init__(self, client: "Client", pool: Executor) -> None:
        self._client = client
        self._pool = pool
        # None: it is not there, or no picture that a model takes.
        self._known: dict[str, ReferenceFile | None] = {}

    def resolved(self, prompts: Sequence[Prompt]) -> Iterator[Prompt | None]:
        """Yield each prompt with what its references hold; None if the job will refuse one of them.

        Google's exceptions pass through, but for those about a single reference.
        """
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        paths = {each.path for prompt in prompts for each in prompt.references}
        unknown = sorted(paths - self._known.keys())
        self._known.update(zip(unknown, self._pool.map(self._look_up, unknown), strict=True))
        for prompt in prompts:
            found = [self._known[each.path] for each in prompt.references]
            files = [file for file in found if file is not None]
            if len(files) < len(found):
                yield None
            else:
                yield with_files(prompt, files) if files else prompt

    def _look_up(self, path: str) -> ReferenceFile | None:
        from google.api_core.exceptions import Forbidden, NotFound

        bucket, _, name = path.removeprefix("gs://").partition("/")
        try:
            blob = self._client.bucket(bucket).get_blob(name)
            if blob is None:
                return None
            content = content_in(
                path,
                {
                    "size": blob.size,
                    "generation": blob.generation,
                    "md5Hash": blob.md5_hash,
                    "crc32c": blob.crc32c,
                    "contentType": blob.content_type,
                    "contentEncoding": blob.content_encoding,
                },
            )
            # Of that generation, as the description says where to load it from.
            start = blob.download_as_bytes(
                start=0, end=FIRST_BYTES - 1, raw_download=True, checksum=None
            )
            return ReferenceFile(content, type_in(path, start))
        except (InvalidPromptError, Forbidden, NotFound):
            return None
