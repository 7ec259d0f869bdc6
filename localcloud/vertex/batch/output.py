"""A job's output: answers as JSON Lines, in as many files as it takes."""

from localcloud.vertex.batch.agent import ObjectWriter, ServiceAgent


class Output:
    """Writes rows into a folder. What was written is there once its file is closed.

    One file is `predictions.jsonl`, as users report
    (https://github.com/googleapis/python-genai/issues/486). Several are `predictions_0001.jsonl`
    and so on, as google.cloud.aiplatform.v1.BatchPredictionJob.OutputConfig says.

    Args:
        agent: writes the files.
        folder: where, such as `gs://bucket/folder`.
        rows: how many rows the job has.
        shard_rows: how many rows a file has at most.
        cut: whether the last line is written to its middle only.
    """

    def __init__(
        self, agent: ServiceAgent, folder: str, *, rows: int, shard_rows: int, cut: bool
    ) -> None:
        self._agent = agent
        self._folder = folder
        self._sharded = rows > shard_rows
        self._shard_rows = shard_rows
        self._cut = cut
        self._written = 0
        # A row waits for the next one, as only the last is cut.
        self._waiting: bytes | None = None
        self._file: ObjectWriter | None = None
        self._uri = ""

    def write(self, row: bytes) -> None:
        """Write a row.

        Raises:
            AgentError: it cannot be written.
        """
        self._flush()
        self._waiting = row

    def close(self) -> None:
        """Write what waits, and close the file.

        Raises:
            AgentError: it cannot be written.
        """
        if self._cut and self._waiting:
            self._waiting = self._waiting[: len(self._waiting) // 2]
        self._flush()
        self._close_file()

    def discard(self) -> None:
        """Forget the file that is not closed yet."""
        if self._file is not None:
            self._agent.discard(self._file)
            self._file = None

    def _flush(self) -> None:
        if self._waiting is None:
            return
        if self._file and self._written % self._shard_rows == 0:
            self._close_file()
        if self._file is None:
            number = self._written // self._shard_rows + 1
            name = f"predictions_{number:04}.jsonl" if self._sharded else "predictions.jsonl"
            self._uri = f"{self._folder}/{name}"
            self._file = self._agent.create(self._uri)
        with self._agent.writing(self._uri):
            self._file.write(self._waiting)
        self._written += 1
        self._waiting = None

    def _close_file(self) -> None:
        if self._file is not None:
            with self._agent.writing(self._uri):
                self._file.close()
            self._file = None
