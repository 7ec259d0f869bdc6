"""`models`: the known models, their prices, and what ends soon."""

import argparse
import datetime

from beam_jobs.catalog import CATALOG, WARN_DAYS
from beam_jobs.cli.commands import AddCommand, add_model
from beam_jobs.cli.models import FAIL_DAYS, default_ends_soon, show_models


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "models",
        _run,
        help=f"show the known models, their prices, and what ends within {WARN_DAYS} days",
        # The catalog needs none.
        needs_project=False,
        examples="\n--check",
    )
    add_model(command, "default model")
    command.add_argument(
        "--check",
        action="store_true",
        help=f"only say whether the default model ends within {FAIL_DAYS} days; exit with 1 if so",
    )


def _run(arguments: argparse.Namespace) -> int:
    today = datetime.datetime.now(datetime.UTC).date()
    if arguments.check:
        return int(default_ends_soon(CATALOG, arguments.model, today))
    show_models(CATALOG, arguments.model, today)
    return 0
