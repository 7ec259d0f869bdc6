"""`python -m beam_jobs`: prompts in, images out, and what is wrong if they don't come."""

# argparse, not Click or Typer: the options of prompts follow from `beam_jobs.prompts.fields`, those
# of jobs are argparse's through Beam, and `--topics A B` and either-or options are what those lack.
import argparse
import os
import sys

from beam_jobs.cli.commands import (
    Run,
    doctor,
    erase,
    estimate,
    models,
    pictures,
    publish,
    put,
    watch,
)
from beam_jobs.prompts.body import quoted

_MODULES = (publish, watch, pictures, estimate, put, models, doctor, erase)
# The exit code that shells report for a program that dies of SIGPIPE (128 + 13).
_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.needs_project and not arguments.project:
            raise ValueError(
                "no project: pass --project, or set GOOGLE_CLOUD_PROJECT, for the real Google "
                "Cloud; for stand-ins on this machine, type README.md's line with eval, which "
                "points this terminal at them"
            )
        _refuse_other_encodings(arguments)
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Otherwise Python writes to the closed pipe once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (ValueError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs",
        description="Prompts in, images out, and what is wrong if they don't come.",
        epilog="For the options and examples of a command: python -m beam_jobs COMMAND --help",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    project = "Google Cloud project; default: the value of GOOGLE_CLOUD_PROJECT"
    parser.add_argument("--project", default=os.environ.get("GOOGLE_CLOUD_PROJECT"), help=project)
    # Also after the command, where it must not set the default once more.
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--project", default=argparse.SUPPRESS, help=project)

    def add(
        name: str, run: Run, *, help: str, examples: str = "", needs_project: bool = True
    ) -> argparse.ArgumentParser:
        lines = [f"  python -m beam_jobs {name} {line}".rstrip() for line in examples.split("\n")]
        command = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog="examples:\n" + "\n".join(lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[everywhere],
        )
        command.set_defaults(run=run, needs_project=needs_project)
        return command

    for module in _MODULES:
        module.add_to(add)
    return parser


def _refuse_other_encodings(arguments: argparse.Namespace) -> None:
    """Check that what will be sent is text; the names of local files may hold any bytes.

    Raises:
        ValueError: an argument holds bytes that are not UTF-8. Python has them as lone surrogates.
    """
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name not in ("file", "files"):
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise ValueError(
                        f"{name}: is not UTF-8 at character {error.start}: {quoted(text)}; write "
                        "it in a terminal whose encoding is UTF-8"
                    ) from None


if __name__ == "__main__":
    # Otherwise Google's library looks for a metadata server for 12 s before it says that nobody is
    # logged in. It reads these when it is imported, which is later.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
    sys.exit(main())
