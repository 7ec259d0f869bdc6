"""`python -m beam_jobs`: publish prompts, watch what becomes of them, see the images.

python -m beam_jobs publish "A fox in the snow" --images 2 --aspect-ratio 16:9
python -m beam_jobs publish --file prompts.csv
python -m beam_jobs watch --count 10
python -m beam_jobs watch --subscription predictions-sub
python -m beam_jobs images --open
python -m beam_jobs images --sheet contact-sheet
"""

import argparse
import contextlib
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions

from beam_jobs.cli import gallery, watch
from beam_jobs.cli.progress import Progress
from beam_jobs.cli.publish import MAX_WAITING, bodies_of_file, body_of, publish
from beam_jobs.cli.screen import Screen
from beam_jobs.cli.sheet import contact_sheet
from beam_jobs.cli.terminal import StatusLine, printable
from beam_jobs.images.store import Location

# As a shell reports of a program that writes to nobody.
_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
    arguments = _parser().parse_args(argv)
    if not arguments.project:
        return _fail("no project: give --project, or set GOOGLE_CLOUD_PROJECT")
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python would try once more to write when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except api_exceptions.NotFound as error:
        return _fail(f"{error.message}: create it, or name another")
    except (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError) as error:
        return _fail(f"{type(error).__name__}: {error}")
    except TimeoutError:
        return _fail("no answer within a minute; is the service, or its stand-in, up?")
    except ValueError as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--project", default=os.environ.get("GOOGLE_CLOUD_PROJECT"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("publish", help="publish a prompt, or a file of them")
    add.set_defaults(run=_publish)
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", help="the text, as it is")
    what.add_argument("--file", help="a .txt, .jsonl or .csv file, local or gs://")
    add.add_argument("--topic", default="prompts")
    add.add_argument("--id")
    add.add_argument("--model")
    add.add_argument("--images", type=int)
    add.add_argument("--aspect-ratio")
    add.add_argument("--image-size")
    add.add_argument("--seed", type=int)
    add.add_argument("--negative-prompt")
    add.add_argument("--attribute", action="append", default=[], metavar="NAME=VALUE")

    add = commands.add_parser("watch", help="show predictions and dead letters as they come")
    add.set_defaults(run=_watch)
    add.add_argument("--count", type=int, help="stop after so many")
    add.add_argument("--seconds", type=float, help="stop after so long")
    where = add.add_mutually_exclusive_group()
    where.add_argument("--topics", nargs="+", default=["predictions", "dead-letters"])
    where.add_argument(
        "--subscription",
        metavar="NAME",
        help="take what this one holds and gets: acknowledged once it is shown",
    )

    add = commands.add_parser("images", help="list the newest images, open one, or make a sheet")
    add.set_defaults(run=_images)
    add.add_argument("path", nargs="?", help="a gs:// path of one image, to open")
    add.add_argument("--location", help="gs://BUCKET/FOLDER; default: gs://PROJECT-imagen/images")
    add.add_argument("--limit", type=int, default=20)
    add.add_argument("--open", action="store_true", help="open the newest, or the sheet")
    add.add_argument("--sheet", type=Path, metavar="FOLDER", help="write a contact sheet there")
    return parser


def _publish(arguments: argparse.Namespace) -> int:
    attributes = {}
    for text in arguments.attribute:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--attribute: expected NAME=VALUE, got {text!r}")
        attributes[name] = value
    topic = f"projects/{arguments.project}/topics/{arguments.topic}"
    if arguments.file:
        print(f"published {_publish_file(arguments.file, topic, attributes)} to {topic}")
        return 0
    fields = ("id", "model", "images", "aspect_ratio", "image_size", "seed", "negative_prompt")
    body = body_of(arguments.prompt, {f: getattr(arguments, f) for f in fields})
    print(f"published {publish(topic, [body], attributes)} to {topic}")
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
        if there := publishing.count:
            unsure = min(MAX_WAITING, len(bodies) - there)
            print(
                f"{there} of {len(bodies)} were published, and perhaps {unsure} more",
                file=sys.stderr,
            )
        raise


def _watch(arguments: argparse.Namespace) -> int:
    if arguments.subscription:
        return _take(arguments)
    screen = Screen(arguments.count)
    with watch.watching(arguments.project, arguments.topics) as arrived, screen.open():
        screen.say(f"watching {', '.join(arguments.topics)} of {arguments.project}")
        for message in watch.arrivals(arrived, count=arguments.count, seconds=arguments.seconds):
            screen.show(message)
    return 0


def _take(arguments: argparse.Namespace) -> int:
    screen, name = Screen(arguments.count), arguments.subscription
    screen.say(f"taking what is on {name} of {arguments.project}")
    messages = watch.taken(
        arguments.project,
        name,
        count=arguments.count,
        seconds=arguments.seconds,
        passed_over=lambda message_id: screen.say(
            f"message {message_id} is neither a prediction nor a dead letter: it stays there"
        ),
    )
    with contextlib.closing(messages), screen.open():
        for message in messages:
            screen.show(message)
    return 0


def _images(arguments: argparse.Namespace) -> int:
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


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="imagen-"))


def _open(path: Path) -> int:
    print(path)
    return 0 if webbrowser.open(path.resolve().as_uri()) else _fail("no browser to open it with")


def _fail(message: str) -> int:
    for part in message.splitlines():
        print(f"error: {part}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
