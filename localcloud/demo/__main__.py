"""`python -m localcloud.demo`: prompts in, images out, run by Airflow on this machine.

The demo starts the local cloud and Airflow, then runs the DAGs. They start the stream, assess its
health, run a backfill over files of every format, replay a dead letter and drain the stream. The
demo publishes prompts of every kind and shows the outcome of each. At the end it checks that every
prompt is accounted for and writes a contact sheet of the images.

However the demo ends, it stops everything that it started.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from localcloud.airflow.standalone import ROOT, SHAPES
from localcloud.demo import scenes
from localcloud.demo.errors import one_line
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupted, Interrupts
from localcloud.demo.output import Output
from localcloud.demo.stage import Stage

# Shells report 128 + N for a process that was ended by signal N.
_SIGNAL_EXIT_BASE = 128


def main(argv: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        The exit code: 0 for success, 1 for a failure, 128 + N after signal N.
    """
    arguments = _parser().parse_args(argv)
    folder = Folder(arguments.state.resolve())
    output = Output(sys.stdout)
    with Interrupts() as interrupts:
        try:
            with folder.fresh():
                _run(folder, arguments, output, interrupts)
        except Interrupted as interrupted:
            _print_error(f"{interrupted}; everything the demo started has been stopped", folder)
            return _SIGNAL_EXIT_BASE + interrupted.number
        # The edge of the program: any error becomes one line, and its traceback a file.
        except Exception as error:
            return _fail(error, folder)
    return 0


def _run(
    folder: Folder, arguments: argparse.Namespace, output: Output, interrupts: Interrupts
) -> None:
    stage = Stage(folder, arguments.dags.resolve(), SHAPES[arguments.shape], interrupts)
    try:
        try:
            scenes.run(stage, folder, output)
            with output.scene("stopping", "Stopping everything the demo started"):
                _close(stage, output)
        finally:
            _close(stage, output)
    finally:
        # An interrupt may have come between two lines above; there is no second one.
        stage.close()
    output.line(f"Finished in {output.timing()}")
    output.line(
        "`make up` starts the same setup and leaves it running: the local cloud, the streaming "
        "job and Airflow. It prints the address and the logins of Airflow's UI. `make down` stops "
        "all of it."
    )


def _close(stage: Stage, output: Output) -> None:
    with output.waiting(lambda: "waiting for the job, Airflow and the local cloud to stop"):
        stage.close()


def _fail(error: Exception, folder: Folder) -> int:
    if isinstance(error, BrokenPipeError):
        # The reader has gone. Without this, Python would try to flush stdout again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if folder.path.is_dir():
        folder.error.write_text("".join(traceback.format_exception(error)))
    _print_error(one_line(error), folder)
    return 1


def _print_error(message: str, folder: Folder) -> None:
    print(f"error: {message} (logs: {folder.path})", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".state/demo"),
        metavar="FOLDER",
        help="where state, logs and the contact sheet go (default: %(default)s)",
    )
    parser.add_argument(
        "--dags",
        type=Path,
        default=ROOT / "dags",
        metavar="FOLDER",
        help="the folder of DAG files (default: the project's dags/)",
    )
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default="sqlite",
        help="what Airflow is made of, as for localcloud.airflow up (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
