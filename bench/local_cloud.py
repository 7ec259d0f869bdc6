"""A local cloud in one process, for measurements in which the models are not what is measured."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localcloud import __main__ as localcloud_cli


@contextlib.contextmanager
def local_cloud() -> Iterator[Path]:
    """Run one in a temporary folder, which is yielded; this process's environment leads to it.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = ["--state", folder]
        if localcloud_cli.main([*state, "up", "--detach"]):
            raise RuntimeError("the local cloud did not start")
        os.environ.update(localcloud_cli.environment_of(Path(folder)) or {})
        try:
            yield Path(folder)
        finally:
            localcloud_cli.main([*state, "down"])


def measured_alone(module: str, *options: str) -> dict[str, Any]:
    """Run a module of this folder in a process of its own, and return the JSON that it prints."""
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
