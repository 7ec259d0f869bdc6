"""How much one prompt file may hold. A gzip file of 2 kB can unpack to a million rows. Pure."""

import dataclasses

# Twenty times the images that a backfill may pay for by default.
MAX_ROWS = 200_000
# Without any row, such as of blank lines, some seconds of one core.
MAX_UNPACKED_BYTES = 1_000_000_000

# How many prompts a custom function may make of one. Each can ask for four images.
MAX_PROMPTS_OF_ONE = 16


@dataclasses.dataclass(frozen=True, slots=True)
class FileLimits:
    """The limits on one file.

    Args:
        max_rows: prompts and invalid rows; None: no limit.
        max_unpacked_bytes: bytes of text, after decompression; None: no limit.
    """

    max_rows: int | None = None
    max_unpacked_bytes: int | None = None


NO_LIMITS = FileLimits()
