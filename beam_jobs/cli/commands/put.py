"""`put`: prompt files into the bucket, where the nightly backfill looks for them."""

import argparse
import datetime
from pathlib import Path

from beam_jobs.cli.commands import AddCommand, default_bucket
from beam_jobs.cli.progress import counted
from beam_jobs.names import night_folder


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "put",
        _run,
        help="put prompt files into the bucket, for the backfill of a night",
        examples="prompts.csv\nmonday/*.jsonl --day 2026-11-30",
    )
    command.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".txt, .jsonl, .json or .csv"
    )
    command.add_argument(
        "--day",
        type=_day,
        metavar="YYYY-MM-DD",
        default=datetime.datetime.now(datetime.UTC).date(),
        help="the day (UTC), whose prompts are made once it is over; default: today",
    )
    command.add_argument(
        "--template",
        metavar="NAME",
        help="prompt template that the backfill is going to use, so that a .csv file can have "
        "columns for it",
    )
    command.add_argument("--bucket", help="default: the variable BUCKET, or else PROJECT-imagen")
    command.add_argument(
        "--replace", action="store_true", help="replace files of the same name that are there"
    )
    command.add_argument(
        "--anyway",
        action="store_true",
        help="also files with invalid rows; each of these becomes a dead letter",
    )


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a day such as 2026-11-30, got {text!r}"
        ) from None


def _run(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.put import check, upload

    templated = arguments.template is not None
    counts = [check(path, anyway=arguments.anyway, templated=templated) for path in arguments.files]
    bucket, day = arguments.bucket or default_bucket(arguments.project), arguments.day
    with asking_storage("roles/storage.objectUser"):
        for path, count in zip(arguments.files, counts, strict=True):
            url = upload(
                path,
                bucket=bucket,
                folder=night_folder(day.isoformat()),
                project=arguments.project,
                replace=arguments.replace,
            )
            print(f"{url}: {counted(count, 'prompt')}")
    print(_when(day, datetime.datetime.now(datetime.UTC).date()))
    return 0


def _when(day: datetime.date, today: datetime.date) -> str:
    by_hand = f'trigger it with {{"day": "{day}"}}'
    if day < today:
        return f"that night is over: to make them, go to imagen_backfill and {by_hand}"
    night = day + datetime.timedelta(days=1)
    return (
        f"imagen_backfill makes them once that day is over, at {night} 00:00 UTC unless its "
        f"schedule is another one; to make them now, {by_hand}"
    )
