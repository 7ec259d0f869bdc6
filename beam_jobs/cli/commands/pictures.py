"""`images`, `open`, and `sheet`: what was generated, newest first."""

import argparse
import shutil
import sys
import tempfile
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

from beam_jobs.cli.commands import AddCommand, add_location, images_url
from beam_jobs.cli.progress import Progress
from beam_jobs.cli.terminal import StatusLine
from beam_jobs.images.location import Location
from beam_jobs.shown import shown_words

_ROLE = "roles/storage.objectViewer"


def add_to(add: AddCommand) -> None:
    """Add the commands."""
    command = add("images", _list, help="list the newest images", examples="--limit 100")
    add_location(command)
    _add_limit(command)

    command = add(
        "open",
        _open,
        help="open an image in a browser: the newest, or the one with that path",
        examples="\ngs://my-project-imagen/images/86/86a9cedf54c51bffcfe3fce30a200b67-0.png",
    )
    command.add_argument("path", nargs="?", help="gs:// path of the image; default: the newest")
    add_location(command)

    command = add(
        "sheet",
        _sheet,
        help="write a page with the newest images and their prompts",
        examples="contact-sheet\ncontact-sheet --limit 100 --open",
    )
    command.add_argument("folder", type=Path, help="the folder to write it to")
    add_location(command)
    _add_limit(command)
    command.add_argument("--open", action="store_true", help="open it in a browser")


def _add_limit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--limit", type=int, default=20, help="maximum prompts to show; default: %(default)s"
    )


def _newest(arguments: argparse.Namespace, limit: int) -> list[dict[str, Any]]:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.gallery import newest

    location = Location.parse(images_url(arguments))
    with asking_storage(_ROLE):
        records = newest(location, arguments.project, limit)
    if not records:
        print(f"no images in {location.url(location.prefix)}")
    return records


def _list(arguments: argparse.Namespace) -> int:
    for record in _newest(arguments, arguments.limit):
        print(f"{record['created_at']}  {shown_words(' '.join(record['prompt'].split()), 70)}")
        for path in record["images"]:
            print(f"  {path}")
    return 0


def _open(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.gallery import download

    path = arguments.path
    if not path:
        records = _newest(arguments, 1)
        if not records:
            return 1
        path = records[0]["images"][0]
    folder = Path(tempfile.mkdtemp(prefix="imagen-"))
    try:
        with asking_storage(_ROLE, what=path, missing="name an image that does, as images lists"):
            image = download(path, arguments.project, folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return _show(image)


def _sheet(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.sheet import contact_sheet

    records = _newest(arguments, arguments.limit)
    if not records:
        return 1
    fetching = Progress("fetching images", sum(len(record["images"]) for record in records))
    with asking_storage(_ROLE), StatusLine(sys.stderr).showing(partial(str, fetching)):
        sheet = contact_sheet(records, arguments.project, arguments.folder, fetched=fetching.add)
    if arguments.open:
        return _show(sheet)
    print(sheet)
    return 0


def _show(path: Path) -> int:
    print(path)
    if webbrowser.open(path.resolve().as_uri()):
        return 0
    print("error: no browser found; open that file yourself", file=sys.stderr)
    return 1
