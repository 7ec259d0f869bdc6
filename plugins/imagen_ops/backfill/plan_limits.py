"""The limits on a backfill's plan. A gzip file of 2 kB can hold a million rows.

A plan that is over a limit is refused as soon as that shows, in whichever file.
"""

import itertools
import math
import time
from typing import NoReturn

from beam_jobs.prompts.limits import FileLimits

_SHOWN_CHARS = 300


class PlanLimitError(Exception):
    """A plan is over one of its limits. Says which setting it is, and where reading stopped."""


class PlanLimits:
    """How much one plan may read. Its methods may be called from several threads.

    Args:
        max_rows: rows of all files together; None: no limit.
        max_unpacked_bytes: bytes of text in one file, after decompression; None: no limit.
        max_seconds: how long the plan may take, from now on; None: no limit.
    """

    def __init__(
        self,
        *,
        max_rows: int | None = None,
        max_unpacked_bytes: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.of_a_file = FileLimits(max_unpacked_bytes=max_unpacked_bytes)
        self._max_rows = math.inf if max_rows is None else max_rows
        self._max_seconds = max_seconds
        self._began = time.monotonic()
        # `next` is atomic, and costs less than a lock.
        self._rows = itertools.count(1)

    def count_row(self, path: str, line: int) -> None:
        """Count one more row.

        Raises:
            PlanLimitError: there are too many, or the time is over.
        """
        if next(self._rows) > self._max_rows:
            _refuse(
                f"the files have more than {self._max_rows:,} rows", "MAX_ROWS", f"{path}:{line}"
            )
        self.check_time(f"{path}:{line}")

    def check_time(self, place: str) -> None:
        """Check that the plan may go on.

        Raises:
            PlanLimitError: the time is over.
        """
        limit = self._max_seconds
        if limit is not None and time.monotonic() - self._began > limit:
            _refuse(f"the plan takes more than {limit:,.0f} s", "MAX_PLAN_SECONDS", place)

    def refuse_bytes(self, path: str, line: int) -> NoReturn:
        """Refuse the plan because of a file that holds too much text.

        Raises:
            PlanLimitError: always.
        """
        limit = self.of_a_file.max_unpacked_bytes
        what = f"a file holds more than {limit:,} bytes of text"
        _refuse(what, "MAX_UNPACKED_BYTES", f"{path}:{line}")


def _refuse(what: str, setting: str, place: str) -> NoReturn:
    # A name may have line ends and marks in it, which could pass for something else in a log.
    shown = repr(place)[1:-1][-_SHOWN_CHARS:]
    raise PlanLimitError(
        f"{what} (IMAGEN_BACKFILL_{setting}): stopped at {shown}. Nothing was launched, nothing "
        "was charged. Make several runs of fewer files, or raise the setting"
    )
