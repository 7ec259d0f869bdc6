"""The commands, a module each: its arguments, and what it does with them.

Modules import the clients of Google's services when a command runs, so that `--help` need not wait.
"""

import argparse
import contextlib
import math
import os
from collections.abc import Callable
from typing import Protocol

from beam_jobs.catalog import DEFAULT_MODEL

Run = Callable[[argparse.Namespace], int]


class AddCommand(Protocol):
    """Adds a command to the program."""

    def __call__(
        self, name: str, run: Run, *, help: str, examples: str = "", needs_project: bool = True
    ) -> argparse.ArgumentParser:
        """Return the parser for the command's arguments.

        Args:
            name: the command.
            run: does what it is for, and returns the exit code.
            help: what it is for, in a line.
            examples: its arguments as somebody would type them, a line each.
            needs_project: whether it does nothing without a Google Cloud project.
        """


def default_bucket(project: str) -> str:
    """Return the deployment's bucket, as the scripts name it."""
    return os.environ.get("BUCKET") or f"{project}-imagen"


def images_url(arguments: argparse.Namespace) -> str:
    """Return the image folder that `--location` names, or that of the project."""
    return arguments.location or f"gs://{default_bucket(arguments.project)}/images"


def add_location(command: argparse.ArgumentParser) -> None:
    """Add the option `--location`, for `images_url`."""
    command.add_argument(
        "--location",
        metavar="gs://BUCKET/FOLDER",
        help="image folder; default: gs://BUCKET/images with the variable BUCKET, or else "
        "gs://PROJECT-imagen/images",
    )


def add_model(command: argparse.ArgumentParser, what: str) -> None:
    """Add the option `--model`.

    Args:
        command: gets it.
        what: what the model is for.
    """
    command.add_argument(
        "--model",
        default=os.environ.get("MODEL") or DEFAULT_MODEL,
        help=f"{what}; default: the variable MODEL, or else {DEFAULT_MODEL}",
    )


def above_zero(text: str) -> float:
    """Return a number above 0, for argparse.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
