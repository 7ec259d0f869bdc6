"""`python -m localcloud.demo`: prompts in, images out, operated by Airflow, on this machine.

Starts the local cloud and Airflow, has the DAGs start the stream, publishes prompts of every kind
and shows what becomes of each, asks health for its verdict, has the DAGs run a backfill over files
of every format, replay a dead letter and drain the stream, adds up, and leaves a contact sheet.
What it started ends with it, however it ends.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from localcloud.airflow.standalone import ROOT
from localcloud.demo import scenes
from localcloud.demo.errors import one_line
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupted, Interrupts
from localcloud.demo.stage import Stage
from localcloud.demo.telling import Teller

# What a shell reports of a process that a signal has ended.
_SIGNALLED = 128


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code: 0, 1 for a failure, 128 and the signal's number for one."""
    arguments = _parser().parse_args(argv)
    folder = Folder(arguments.state.resolve())
    tell = Teller(sys.stdout)
    with Interrupts() as interrupts:
        try:
            with folder.fresh():
                _run(folder, arguments.dags.resolve(), tell, interrupts)
        except Interrupted as interrupted:
            _say_why(f"{interrupted}; everything that was started has ended", folder)
            return _SIGNALLED + interrupted.number
        # The edge of the program: whatever it is, it becomes a line, and its trace a file.
        except Exception as error:
            return _fail(error, folder)
    return 0


def _run(folder: Folder, dags: Path, tell: Teller, interrupts: Interrupts) -> None:
    stage = Stage(folder, dags, interrupts)
    try:
        try:
            scenes.show(stage, folder, tell)
            with tell.scene("ending", "Ending everything that was started"):
                _close(stage, tell)
        finally:
            _close(stage, tell)
    finally:
        # An interrupt may have come between two lines above; there is no second one.
        stage.close()
    tell.line(f"Took {tell.split()}")
    tell.line(
        "`make up` starts the same and leaves it running: the local cloud, the stream, and "
        "Airflow's UI, at the address and with the login that it prints; `make down` ends it."
    )


def _close(stage: Stage, tell: Teller) -> None:
    with tell.waiting(lambda: "for the job, Airflow and the local cloud to end"):
        stage.close()


def _fail(error: Exception, folder: Folder) -> int:
    if isinstance(error, BrokenPipeError):
        # Nobody reads any more; Python would try once more to write when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if folder.path.is_dir():
        folder.error.write_text("".join(traceback.format_exception(error)))
    _say_why(one_line(error), folder)
    return 1


def _say_why(why: str, folder: Folder) -> None:
    print(f"error: {why} (logs: {folder.path})", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", type=Path, default=Path(".state/demo"), metavar="FOLDER")
    parser.add_argument(
        "--dags", type=Path, default=ROOT / "dags", metavar="FOLDER", help="other DAG files"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
