"""`doctor`: whether all that prompts need is there, and what to do if not."""

import argparse

from beam_jobs.cli.commands import AddCommand, add_location, add_model


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "doctor",
        _run,
        help="say whether all that prompts need is there, and what to do if not",
        # It says so, among the other things that are missing.
        needs_project=False,
    )
    add_location(command)
    add_model(command, "model to ask")
    command.add_argument(
        "--model-endpoint",
        help="endpoint or publisher model that serves --model over :predict, as "
        "projects/PROJECT/locations/LOCATION/endpoints/ID",
    )
    command.add_argument(
        "--model-location",
        help="location that serves the model, or several for Gemini models, separated by commas; "
        "default: global for Gemini models, the variable REGION for others",
    )


def _run(arguments: argparse.Namespace) -> int:
    # Imports the clients of every service, which the other commands need not wait for.
    from beam_jobs.cli.doctor import diagnose
    from beam_jobs.cli.setup import Setup

    setup = Setup(
        project=arguments.project,
        images=arguments.location,
        model=arguments.model,
        endpoint=arguments.model_endpoint,
        given_location=arguments.model_location,
    )
    return 0 if diagnose(setup) else 1
