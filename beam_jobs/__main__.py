"""`python -m beam_jobs`: publish prompts, watch outcomes, see images, find what is wrong.

python -m beam_jobs publish "A fox in the snow" --images 2 --aspect-ratio 16:9
python -m beam_jobs publish --file prompts.csv
python -m beam_jobs watch --count 10
python -m beam_jobs watch --subscription predictions-sub
python -m beam_jobs images --open
python -m beam_jobs images --sheet contact-sheet
python -m beam_jobs models
python -m beam_jobs doctor
"""

import argparse
import contextlib
import datetime
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from requests import exceptions as requests_exceptions

from beam_jobs import names
from beam_jobs.catalog import CATALOG, DEFAULT_MODEL, WARN_DAYS
from beam_jobs.cli import gallery, watch
from beam_jobs.cli.models import FAIL_DAYS, default_ends_soon, show_models
from beam_jobs.cli.progress import Progress, counted
from beam_jobs.cli.publish import MAX_WAITING, bodies_of_file, body_of, publish
from beam_jobs.cli.screen import Screen
from beam_jobs.cli.sheet import contact_sheet
from beam_jobs.cli.terminal import StatusLine, printable
from beam_jobs.images.location import Location
from beam_jobs.prompts.body import quoted
from beam_jobs.prompts.fields import FIELD_NAMES, FIELDS, Kind

# The exit code that shells report for a program that dies of SIGPIPE (128 + 13).
_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = _parser().parse_args(argv)
    # The doctor says it among the other things that are missing; the catalog needs none.
    if not arguments.project and arguments.run not in (_doctor, _models):
        return _fail("no project: pass --project, or set GOOGLE_CLOUD_PROJECT")
    try:
        _refuse_other_encodings(arguments)
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Otherwise Python writes to the closed pipe once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except api_exceptions.NotFound as error:
        return _fail(f"{error.message}; create it, or name one that exists")
    except (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError) as error:
        return _fail(f"{type(error).__name__}: {error}")
    except TimeoutError:
        return _fail("no answer within 60 s; check that Pub/Sub, or its local stand-in, is running")
    except ValueError as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--project",
        default=os.environ.get("GOOGLE_CLOUD_PROJECT"),
        help="Google Cloud project; default: the value of GOOGLE_CLOUD_PROJECT",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("publish", help="publish one prompt, or all prompts of a file")
    command.set_defaults(run=_publish)
    prompt_source = command.add_mutually_exclusive_group(required=True)
    prompt_source.add_argument("prompt", nargs="?", help="the text of one prompt")
    prompt_source.add_argument(
        "--file", help="a .txt, .jsonl, .json or .csv file, local or gs://, plain or gzipped"
    )
    command.add_argument(
        "--topic", default=names.PROMPTS_TOPIC, help="topic to publish to; default: %(default)s"
    )
    for field in FIELDS[1:]:
        name = f"--{field.name.replace('_', '-')}"
        if field.kind is Kind.BOOLEAN:
            switch = argparse.BooleanOptionalAction
            command.add_argument(name, action=switch, default=None, help=field.help)
        else:
            convert = int if field.kind is Kind.INTEGER else str
            command.add_argument(name, type=convert, help=field.help)
    command.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="message attribute to publish; can be repeated",
    )

    command = commands.add_parser("watch", help="show predictions and dead letters as they arrive")
    command.set_defaults(run=_watch)
    command.add_argument("--count", type=int, help="stop after this many messages")
    command.add_argument("--seconds", type=float, help="stop after this many seconds")
    message_source = command.add_mutually_exclusive_group()
    outcomes = [names.PREDICTIONS_TOPIC, names.DEAD_LETTERS_TOPIC]
    message_source.add_argument(
        "--topics",
        nargs="+",
        default=outcomes,
        metavar="NAME",
        help=f"topics to watch, without taking messages from anyone; default: {' '.join(outcomes)}",
    )
    message_source.add_argument(
        "--subscription",
        metavar="NAME",
        help="show the messages of this subscription, and acknowledge each one once it is shown",
    )

    command = commands.add_parser(
        "images", help="list the newest images, open one, or write a contact sheet"
    )
    command.set_defaults(run=_images)
    command.add_argument("path", nargs="?", help="gs:// path of one image to open")
    command.add_argument(
        "--location",
        help="image folder, as gs://BUCKET/FOLDER; default: gs://PROJECT-imagen/images",
    )
    command.add_argument(
        "--limit", type=int, default=20, help="maximum prompts to show; default: %(default)s"
    )
    command.add_argument("--open", action="store_true", help="open the newest image, or the sheet")
    command.add_argument(
        "--sheet", type=Path, metavar="FOLDER", help="write a contact sheet to this folder"
    )

    command = commands.add_parser(
        "models",
        help=f"show the known models, their prices, and what ends within {WARN_DAYS} days",
    )
    command.set_defaults(run=_models)
    command.add_argument(
        "--model",
        default=os.environ.get("MODEL") or DEFAULT_MODEL,
        help=f"default model; default: the variable MODEL, or else {DEFAULT_MODEL}",
    )
    command.add_argument(
        "--check",
        action="store_true",
        help=f"only say whether the default model ends within {FAIL_DAYS} days; exit with 1 if so",
    )

    command = commands.add_parser(
        "doctor", help="say whether all that prompts need is there, and what to do if not"
    )
    command.set_defaults(run=_doctor)
    command.add_argument(
        "--location",
        help="image folder, as gs://BUCKET/FOLDER; default: gs://BUCKET/images with the variable "
        "BUCKET, or else gs://PROJECT-imagen/images",
    )
    command.add_argument(
        "--model",
        default=os.environ.get("MODEL") or DEFAULT_MODEL,
        help=f"model to ask; default: the variable MODEL, or else {DEFAULT_MODEL}",
    )
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
    return parser


def _models(arguments: argparse.Namespace) -> int:
    today = datetime.datetime.now(datetime.UTC).date()
    if arguments.check:
        return int(default_ends_soon(CATALOG, arguments.model, today))
    show_models(CATALOG, arguments.model, today)
    return 0


def _refuse_other_encodings(arguments: argparse.Namespace) -> None:
    """Check that what will be sent is text; the name of a local file may hold any bytes.

    Raises:
        ValueError: an argument holds bytes that are not UTF-8. Python has them as lone surrogates.
    """
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name != "file":
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise ValueError(
                        f"{name}: is not UTF-8 at character {error.start}: {quoted(text)}; write "
                        "it in a terminal whose encoding is UTF-8"
                    ) from None


def _publish(arguments: argparse.Namespace) -> int:
    attributes = {}
    for text in arguments.attribute:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"--attribute: expected NAME=VALUE, got {text!r}")
        attributes[name] = value
    topic = f"projects/{arguments.project}/topics/{arguments.topic}"
    if arguments.file:
        count = _publish_file(arguments.file, topic, attributes)
        print(f"published {counted(count, 'prompt')} to {topic}")
        return 0
    fields = {name: getattr(arguments, name) for name in FIELD_NAMES[1:]}
    body = body_of(arguments.prompt, fields)
    print(f"published {counted(publish(topic, [body], attributes), 'prompt')} to {topic}")
    return 0


def _publish_file(file: str, topic: str, attributes: dict[str, str]) -> int:
    status = StatusLine(sys.stderr)
    reading = Progress("reading rows")
    with status.showing(reading.__str__):
        bodies = list(bodies_of_file(file, read=reading.add))
    publishing = Progress("publishing", len(bodies))
    try:
        with status.showing(publishing.__str__, ended=publishing.ended):
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


def _watch(arguments: argparse.Namespace) -> int:
    if arguments.subscription:
        return _consume(arguments)
    screen = Screen(arguments.count)
    with watch.watch_topics(arguments.project, arguments.topics) as messages, screen.open():
        screen.say(f"watching {', '.join(arguments.topics)} in {arguments.project}")
        for message in watch.arrivals(messages, count=arguments.count, seconds=arguments.seconds):
            screen.show(message)
    return 0


def _consume(arguments: argparse.Namespace) -> int:
    screen, name = Screen(arguments.count), arguments.subscription
    screen.say(
        f"consuming {name} in {arguments.project}: each message is acknowledged once it is shown"
    )
    messages = watch.consume(
        arguments.project,
        name,
        count=arguments.count,
        seconds=arguments.seconds,
        on_foreign_message=lambda message_id: screen.say(
            f"message {message_id} is neither a prediction nor a dead letter; it stays in {name}"
        ),
    )
    with contextlib.closing(messages), screen.open():
        for message in messages:
            screen.show(message)
    return 0


def _images(arguments: argparse.Namespace) -> int:
    try:
        return _show_images(arguments)
    except api_exceptions.NotFound:
        raise
    except (api_exceptions.GoogleAPIError, requests_exceptions.RequestException) as error:
        # Imports the clients of every service, for their errors.
        from beam_jobs.cli.endpoints import STORAGE, endpoints
        from beam_jobs.cli.remedies import remedy

        at = f"{STORAGE} at {endpoints(os.environ, 'global')[STORAGE].address}"
        denied = "grant this account roles/storage.objectViewer"
        return _fail(remedy(error, at=at, missing="", denied=denied))


def _show_images(arguments: argparse.Namespace) -> int:
    if arguments.path:
        return _open(gallery.download(arguments.path, arguments.project, _temporary()))
    location = Location.parse(arguments.location or f"gs://{arguments.project}-imagen/images")
    records = gallery.newest(location, arguments.project, arguments.limit)
    if not records:
        print(f"no images in {location.url(location.prefix)}")
        return 0
    if arguments.sheet:
        fetching = Progress("fetching images", sum(len(record["images"]) for record in records))
        with StatusLine(sys.stderr).showing(fetching.__str__):
            sheet = contact_sheet(records, arguments.project, arguments.sheet, fetched=fetching.add)
        print(sheet)
        return _open(sheet) if arguments.open else 0
    if arguments.open:
        return _open(gallery.download(records[0]["images"][0], arguments.project, _temporary()))
    for record in records:
        print(f"{record['created_at']}  {printable(' '.join(record['prompt'].split())[:70])}")
        for path in record["images"]:
            print(f"  {path}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
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


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="imagen-"))


def _open(path: Path) -> int:
    print(path)
    return (
        0
        if webbrowser.open(path.resolve().as_uri())
        else _fail("no browser found; open that file yourself")
    )


def _fail(message: str) -> int:
    for part in message.splitlines():
        print(f"error: {part}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
