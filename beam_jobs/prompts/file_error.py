"""Why a prompt file cannot be read. A module of its own, because several raise it."""


class FileError(ValueError):
    """The file cannot be read, or not beyond this row. The message says why, and what to do."""
