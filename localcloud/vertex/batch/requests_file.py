"""A job's input: one request a line, read from a copy on disk in any order."""

import json
import random
import tempfile
from array import array

from localcloud.vertex.batch.agent import INVALID_ARGUMENT, AgentError, ServiceAgent


class RequestsFile:
    """A copy of a job's input, of which only the lines' places are in memory.

    Args:
        agent: reads it.
        uri: where it is.
        max_requests: how many lines it may have.

    Raises:
        AgentError: it cannot be read, is too large, or is not what is expected.
    """

    def __init__(self, agent: ServiceAgent, uri: str, *, max_requests: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._places = array("Q")
        try:
            agent.fetch(uri, self._file)
            self._find_lines(uri, max_requests)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Delete the copy."""
        self._file.close()

    def order(self, seed: str) -> list[int]:
        """Return the numbers of the lines in the order in which a job answers them.

        Batch inference does not keep the order of its input.
        """
        numbers = list(range(len(self._places)))
        random.Random(seed).shuffle(numbers)  # noqa: S311 - chance, not a secret
        return numbers

    def line(self, number: int) -> dict[str, object]:
        """Return the request of a line."""
        self._file.seek(self._places[number])
        request: dict[str, object] = json.loads(self._file.readline())["request"]
        return request

    def _find_lines(self, uri: str, max_requests: int) -> None:
        self._file.seek(0)
        number = place = 0
        while line := self._file.readline():
            number += 1
            if line.strip():
                self._check(line, number, uri)
                self._places.append(place)
            if len(self._places) > max_requests:
                raise AgentError(
                    INVALID_ARGUMENT,
                    f"The input file {uri} has more than {max_requests} requests.",
                )
            place += len(line)
        if not self._places:
            raise AgentError(INVALID_ARGUMENT, f"The input file {uri} has no requests.")

    def _check(self, line: bytes, number: int, uri: str) -> None:
        # The first words are those of https://github.com/googleapis/python-aiplatform/issues/4110
        try:
            row = json.loads(line)
            problem = "" if isinstance(row["request"], dict) else "request is no object"
        except ValueError as error:
            problem = f"Syntax error: {error}"
        except (KeyError, TypeError):
            problem = "there is no request"
        if problem:
            raise AgentError(
                INVALID_ARGUMENT, f"Failed to import data. {uri}, line {number}: {problem}"
            )
