"""`python -m localcloud`: start, use and stop a local stand-in for Google Cloud.

python -m localcloud up            run until SIGTERM or ctrl-C; print the environment
python -m localcloud up --detach   run in the background; return once it is ready
python -m localcloud env           print `export` lines for a shell: eval "$(…)"
python -m localcloud run CMD …     run a command with that environment
python -m localcloud down          stop the local cloud
"""

import argparse
import asyncio
import fcntl
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from localcloud import tunable_settings
from localcloud.cloud import ENVIRONMENT_FILE, LocalCloud
from localcloud.resources import Names
from localcloud.vertex import Behaviour, Settings

_READY_WITHIN_S = 60.0
_DOWN_WITHIN_S = 30.0


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code: 0 for success, 1 for a failure."""
    arguments = _parser().parse_args(argv)
    state: Path = arguments.state.resolve()
    if arguments.command == "up":
        return _up_detached(state, arguments) if arguments.detach else _up(state, arguments)
    if arguments.command == "down":
        return _down(state)
    environment = environment_of(state)
    if environment is None:
        return _fail(
            f"no local cloud is running on {state}; start it with Airflow and the stream: make up; "
            "or alone: "
            f".venv/bin/python -m localcloud --state {shlex.quote(str(state))} up --detach"
        )
    if arguments.command == "env":
        for name, value in environment.items():
            print(f"export {name}={shlex.quote(value)}")
        return 0
    os.environ.update(environment)
    if not arguments.arguments:
        return _fail("run: expected a command, for example: .venv/bin/python -m localcloud run env")
    try:
        os.execvp(arguments.arguments[0], arguments.arguments)  # noqa: S606 - the user's command
    except OSError as error:
        return _fail(f"cannot run {' '.join(arguments.arguments)}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".state/localcloud"),
        metavar="FOLDER",
        help="where state and logs are kept (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the local cloud")
    up.add_argument(
        "--detach", action="store_true", help="run in the background; return once it is ready"
    )
    up.add_argument("--project", default=Names.project, help="project ID (default: %(default)s)")
    up.add_argument("--bucket", default=Names.bucket, help="bucket name (default: %(default)s)")
    up.add_argument("--seed", type=int, help="make random faults repeatable")
    up.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a setting of the models, such as latency_s=2 or quota_per_minute=600; repeatable",
    )
    commands.add_parser("down", help="stop the local cloud")
    commands.add_parser("env", help="print the environment as export lines")
    run = commands.add_parser("run", help="run a command with that environment")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="CMD")
    return parser


def _up(state: Path, arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    try:
        tunable_settings.update_settings(
            settings, dict(_parse_setting(text) for text in arguments.set)
        )
    except ValueError as error:
        return _fail(f"--set: {error}")
    state.mkdir(parents=True, exist_ok=True)
    with open(state / "lock", "a+", encoding="utf-8") as lock:
        if not _try_lock(lock):
            return _fail(
                f"another local cloud is running on {state}; stop it, or choose another folder "
                "with --state"
            )
        # A killed process leaves this file behind, and its presence means "ready".
        (state / ENVIRONMENT_FILE).unlink(missing_ok=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        cloud = LocalCloud(
            state,
            names=Names(project=arguments.project, bucket=arguments.bucket),
            behaviour=Behaviour(settings, seed=arguments.seed),
            seed=arguments.seed,
        )
        asyncio.run(_serve(cloud))
    return 0


async def _serve(cloud: LocalCloud) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for name, value in (await cloud.start()).items():
        print(f"{name}={value}", flush=True)
    await stop.wait()
    await cloud.stop()


def _up_detached(state: Path, arguments: argparse.Namespace) -> int:
    if environment_of(state) is not None:
        return _fail(f"a local cloud is already running on {state}")
    state.mkdir(parents=True, exist_ok=True)
    log = state / "log"
    command = [sys.executable, "-m", "localcloud", "--state", str(state), "up"]
    command += ["--project", arguments.project, "--bucket", arguments.bucket]
    command += [] if arguments.seed is None else ["--seed", str(arguments.seed)]
    command += [word for text in arguments.set for word in ("--set", text)]
    with log.open("a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if environment_of(state) is not None:
            return 0
        if process.poll() is not None:
            break
        time.sleep(0.05)
    return _fail(
        f"the local cloud was not ready within {_READY_WITHIN_S:.0f} s, or stopped; see {log}"
    )


def _down(state: Path) -> int:
    pid = _owner(state)
    if pid is None:
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_WITHIN_S
    while _owner(state) is not None:
        if time.monotonic() > deadline:
            return _fail(
                f"the local cloud (process {pid}) did not stop within {_DOWN_WITHIN_S:.0f} s"
            )
        time.sleep(0.05)
    return 0


def environment_of(state: Path) -> dict[str, str] | None:
    """Return the environment of the local cloud on folder `state`; None unless it is ready."""
    if _owner(state) is None:
        return None
    try:
        environment: dict[str, str] = json.loads((state / ENVIRONMENT_FILE).read_text())
    except FileNotFoundError:
        return None
    return environment


def _owner(state: Path) -> int | None:
    """Return the id of the process that holds the folder's lock; None if no process does."""
    try:
        with open(state / "lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
    except FileNotFoundError:
        pass
    return None


def _try_lock(lock: TextIO) -> bool:
    """Lock the folder. Retries for 1 s, because `_owner` holds the lock briefly."""
    deadline = time.monotonic() + 1.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def _parse_setting(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    try:
        if not separator:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise ValueError(f"expected NAME=NUMBER, got {text!r}") from None


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
