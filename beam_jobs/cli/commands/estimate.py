"""`estimate`: what prompt files would cost, and how long they would take."""

import argparse
import os
import sys
from functools import partial

from beam_jobs.catalog import Tier, tier_problem
from beam_jobs.cli.commands import AddCommand, above_zero, add_model
from beam_jobs.cli.progress import Progress
from beam_jobs.cli.terminal import StatusLine
from beam_jobs.shown import shown


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "estimate",
        _run,
        help="say what prompt files would cost and how long they would take; nothing is paid",
        needs_project=False,
        examples="prompts.csv\n*.jsonl --tier flex --requests-per-minute 60",
    )
    command.add_argument(
        "files", nargs="+", metavar="FILE", help=".txt, .jsonl, .json or .csv; local or gs://"
    )
    add_model(command, "model of prompts that name none")
    command.add_argument(
        "--allowed-models",
        metavar="MODELS",
        help="comma-separated models that a prompt can name; default: all known Gemini models",
    )
    command.add_argument(
        "--template",
        metavar="NAME",
        help="prompt template of prompts that name none; default: they have none",
    )
    command.add_argument(
        "--bucket", help="where templates are read from; default: the variable BUCKET"
    )
    command.add_argument(
        "--tier",
        choices=tuple(Tier),
        default=Tier.STANDARD.value,
        help="how the model is called; default: %(default)s",
    )
    command.add_argument(
        "--requests-per-minute",
        type=above_zero,
        metavar="CALLS",
        help="what the model's quota allows; default: no limit",
    )
    command.add_argument(
        "--calls-at-once",
        type=above_zero,
        metavar="CALLS",
        default=128,
        help="over all workers; default: %(default)s, those of the forms' 2 workers",
    )
    command.add_argument(
        "--call-seconds",
        type=above_zero,
        metavar="SECONDS",
        default=15,
        help="how long a call takes; default: %(default)s, which is an assumption",
    )


def _run(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.estimate import Estimate, Pace
    from beam_jobs.cli.prompt_rows import expanded
    from beam_jobs.prompts.defaults import prompt_defaults
    from beam_jobs.prompts.template_folder import templates_in
    from beam_jobs.prompts.templates import no_templates

    bucket = arguments.bucket or os.environ.get("BUCKET")
    if problem := tier_problem(arguments.model, arguments.tier):
        raise ValueError(f"--tier: {problem}")
    defaults = prompt_defaults(
        model=arguments.model,
        allowed_models=arguments.allowed_models,
        prompt_template=arguments.template,
        source="estimate",
    )
    find_template = templates_in(bucket) if bucket else no_templates
    estimate = Estimate(defaults, Tier(arguments.tier), find_template)
    reading = Progress("reading rows")
    role = "roles/storage.objectViewer"
    with StatusLine(sys.stderr).showing(partial(str, reading)):
        for given in arguments.files:
            with asking_storage(role, what=given, missing="name a prompt file that does"):
                for path in expanded(given):
                    estimate.add_file(path, read=reading.add)
    pace = Pace(int(arguments.calls_at_once), arguments.call_seconds, arguments.requests_per_minute)
    for line in estimate.lines(pace):
        print(line)
    for line in estimate.first_invalid:
        print(f"invalid: {shown(line, 300)}")
    if more := estimate.invalid - len(estimate.first_invalid):
        print(f"and {more:,} more")
    return 1 if estimate.invalid else 0
