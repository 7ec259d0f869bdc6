"""`publish`: one prompt, or all prompts of a file."""

import argparse
import json
import sys
from functools import partial
from typing import Any

from beam_jobs import names
from beam_jobs.cli.commands import AddCommand
from beam_jobs.cli.progress import Progress, counted
from beam_jobs.cli.terminal import StatusLine
from beam_jobs.prompts.fields import FIELD_NAMES, FIELDS, Field, Kind

# Up to so many prompts, their message ids are printed.
_MAX_IDS = 10
_WITH_FILE = "template"


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "publish",
        _run,
        help="publish one prompt, or all prompts of a file",
        examples='"A fox in the snow" --images 2 --aspect-ratio 16:9\n--file prompts.csv',
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "prompt", nargs="?", help="the text of one prompt; none for a --template without {prompt}"
    )
    source.add_argument(
        "--file", help="a .txt, .jsonl, .json or .csv file, local or gs://, plain or gzipped"
    )
    command.add_argument(
        "--topic", default=names.PROMPTS_TOPIC, help="topic to publish to; default: %(default)s"
    )
    command.set_defaults(refuse=command.error)
    of_one = command.add_argument_group(
        "fields of one prompt",
        "Not allowed with --file, but for --template: the rows of a file have fields of their own.",
    )
    for field in FIELDS[1:]:
        name = _option(field)
        if field.kind is Kind.VALUES:
            of_one.add_argument(
                name,
                dest=field.name,
                action="append",
                metavar="NAME=VALUE",
                help="value of a variable of the template; can be repeated",
            )
        elif field.kind is Kind.PATHS:
            of_one.add_argument(
                name,
                "--references",
                dest=field.name,
                action="append",
                metavar="gs://BUCKET/NAME",
                help="picture to show the model, or a JSON object with uri and role; can be "
                "repeated; Gemini models only",
            )
        elif field.kind is Kind.BOOLEAN:
            switch = argparse.BooleanOptionalAction
            of_one.add_argument(name, action=switch, default=None, help=field.help)
        else:
            convert = int if field.kind is Kind.INTEGER else str
            of_one.add_argument(name, type=convert, help=field.help)
    command.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="message attribute to publish; can be repeated",
    )


def _option(field: Field) -> str:
    match field.kind:
        case Kind.VALUES:
            return "--var"
        case Kind.PATHS:
            return "--reference"
        case _:
            return f"--{field.name.replace('_', '-')}"


def _run(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import PATIENCE_S, asking_pubsub
    from beam_jobs.cli.prompt_check import problem_of
    from beam_jobs.cli.publish import body_of, publish

    ignored = [
        _option(field)
        for field in FIELDS[1:]
        if field.name != _WITH_FILE and getattr(arguments, field.name) is not None
    ]
    if arguments.file and ignored:
        arguments.refuse(
            f"not allowed with --file: {', '.join(ignored)}; say it in each row of the file, or "
            "publish one prompt without --file"
        )
    if arguments.prompt is None and not (arguments.file or arguments.template):
        arguments.refuse("one of the arguments prompt --file --template is required")
    attributes = dict(map(attribute, arguments.attribute))
    if arguments.references is not None:
        arguments.references = [each for text in arguments.references for each in _shown(text)]
    if arguments.vars is not None:
        arguments.vars = dict(attribute(text, option="--var") for text in arguments.vars)
    topic = f"projects/{arguments.project}/topics/{arguments.topic}"
    with asking_pubsub("roles/pubsub.publisher", what=f"topic {topic}"):
        if arguments.file:
            ids = _publish_file(arguments.file, topic, attributes, arguments.template)
        else:
            fields = {name: getattr(arguments, name) for name in FIELD_NAMES[1:]}
            body = body_of(arguments.prompt, fields)
            if problem := problem_of(body, attributes):
                raise ValueError(f"nothing was published: {problem}")
            ids = publish(topic, [body], attributes, timeout_s=PATIENCE_S)
    print(f"published {counted(len(ids), 'prompt')} to {topic}")
    if 0 < len(ids) <= _MAX_IDS:
        print(f"message {'ID' if len(ids) == 1 else 'IDs'}: {', '.join(ids)}")
    return 0


def attribute(text: str, *, option: str = "--attribute") -> tuple[str, str]:
    """Return name and value of an attribute, or of what another option names.

    Raises:
        ValueError: it is not of the form NAME=VALUE.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ValueError(f"{option}: expected NAME=VALUE, got {text!r}")
    return name, value


def _shown(text: str) -> list[Any]:
    """Return the references that an option names: paths, or one object with uri and role."""
    if not text.lstrip().startswith("{"):
        return list(text.split())
    try:
        return [json.loads(text)]
    except ValueError as error:
        raise ValueError(
            f"--reference: expected a gs:// path, or JSON such as "
            f'{{"uri": "gs://…", "role": "…"}}, got {text!r}: {error}'
        ) from None


def _publish_file(
    file: str, topic: str, attributes: dict[str, str], template: str | None
) -> list[str]:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.prompt_rows import bodies_of_file
    from beam_jobs.cli.publish import MAX_WAITING, publish

    status = StatusLine(sys.stderr)
    reading = Progress("reading rows")
    asking = asking_storage(
        "roles/storage.objectViewer", what=file, missing="name a prompt file that does"
    )
    with asking, status.showing(partial(str, reading)):
        bodies = list(bodies_of_file(file, template=template, read=reading.add))
    publishing = Progress("publishing", len(bodies))
    try:
        with status.showing(partial(str, publishing), ended=publishing.ended):
            return publish(topic, bodies, attributes, published=publishing.add)
    except BaseException:
        if count := publishing.count:
            unconfirmed = min(MAX_WAITING, len(bodies) - count)
            print(
                f"published {count:,} of {len(bodies):,} prompts; up to {unconfirmed:,} more may "
                "have been published",
                file=sys.stderr,
            )
        raise
