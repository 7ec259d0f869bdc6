"""`python -m localcloud.airflow`: run an Airflow beside the local cloud.

python -m localcloud.airflow up             start Airflow; return once the DAGs are parsed
python -m localcloud.airflow url            print the address and the logins
python -m localcloud.airflow trigger DAG    start a DAG run; with --wait, wait for its success
python -m localcloud.airflow down           stop Airflow and any processes left by a crash
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from localcloud.__main__ import environment_of
from localcloud.airflow.responses import AirflowError, RunState
from localcloud.airflow.standalone import ROOT, SHAPES, Airflow
from localcloud.resources import Names

_RUN_WITHIN_S = 600.0


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code: 0 for success, 1 for a failure."""
    arguments = _parser().parse_args(argv)
    airflow = Airflow(arguments.state)
    try:
        if arguments.command == "up":
            _up(airflow, arguments)
        elif arguments.command == "trigger":
            _trigger(airflow, arguments)
        elif arguments.command == "down":
            airflow.stop()
        else:
            _check_running(airflow)
            _print_logins(airflow)
    except (AirflowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud.airflow",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".state/localcloud"),
        metavar="FOLDER",
        help="the local cloud's state folder (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start Airflow")
    up.add_argument(
        "--dags",
        type=Path,
        default=ROOT / "dags",
        metavar="FOLDER",
        help="DAG files (default: the project's dags/)",
    )
    up.add_argument(
        "--plugins",
        type=Path,
        default=ROOT / "plugins",
        metavar="FOLDER",
        help="plugins (default: the project's plugins/)",
    )
    up.add_argument("--bucket", default=Names.bucket, help="bucket name (default: %(default)s)")
    up.add_argument(
        "--triggerer", action="store_true", help="also start the triggerer, for deferrable tasks"
    )
    up.add_argument(
        "--shape",
        choices=SHAPES,
        default="sqlite",
        help="sqlite: as few processes as possible. composer: PostgreSQL, Redis, Celery workers, a "
        "triggerer and the FAB auth manager, as Composer has them (default: %(default)s)",
    )
    up.add_argument("--paused", action="store_true", help="create new DAGs paused")
    up.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="an environment variable for Airflow, such as IMAGEN_POKE_SECONDS=5; repeatable",
    )
    commands.add_parser("down", help="stop Airflow")
    commands.add_parser("url", help="print the address and the logins")
    trigger = commands.add_parser("trigger", help="start a DAG run")
    trigger.add_argument("dag", metavar="DAG")
    trigger.add_argument(
        "--conf", type=_conf, default={}, metavar="JSON", help="values for the trigger form"
    )
    trigger.add_argument(
        "--wait",
        action="store_true",
        help=f"wait until the run has succeeded, up to {_RUN_WITHIN_S / 60:.0f} min",
    )
    return parser


def _up(airflow: Airflow, arguments: argparse.Namespace) -> None:
    cloud = environment_of(arguments.state.resolve())
    if cloud is None:
        raise AirflowError(
            f"no local cloud is running on {arguments.state}; start it with: "
            f".venv/bin/python -m localcloud --state {arguments.state} up --detach"
        )
    if airflow.components():
        started = airflow.home.started()
        if started and started.shape != arguments.shape:
            raise AirflowError(
                f"the Airflow at {airflow.url} has the shape {started.shape}, not "
                f"{arguments.shape}; stop it first: make down"
            )
        if stopped := airflow.stopped_components():
            print(f"restarting components that had stopped: {', '.join(stopped)}")
        for name in stopped:
            airflow.restart(name)
        airflow.wait_until_ready()
        _print_logins(airflow)
        return
    airflow.start(
        cloud,
        dags=arguments.dags,
        plugins=arguments.plugins,
        bucket=arguments.bucket,
        paused=arguments.paused,
        triggerer=arguments.triggerer,
        shape=SHAPES[arguments.shape],
        settings=dict(arguments.set),
    )
    try:
        airflow.wait_until_ready()
    finally:
        _print_logins(airflow)


def _print_logins(airflow: Airflow) -> None:
    started = airflow.home.started()
    passwords = airflow.home.passwords()
    print(f"Airflow is at {airflow.url}")
    for user, role in (started.roles if started else {}).items():
        print(f"  user {user}, password {passwords[user]} (role: {role})")


def _trigger(airflow: Airflow, arguments: argparse.Namespace) -> None:
    _check_running(airflow)
    with airflow.client() as client:
        run_id = client.trigger(arguments.dag, arguments.conf)
        print(f"{airflow.url}/dags/{arguments.dag}/runs/{run_id}", flush=True)
        if arguments.wait:
            client.wait_for_run(arguments.dag, run_id, within_s=_RUN_WITHIN_S)
            print(f"run {run_id} of {arguments.dag} is {RunState.SUCCESS}")


def _check_running(airflow: Airflow) -> None:
    if not airflow.running():
        raise AirflowError(
            f"no Airflow is running on {airflow.home.path.parent}; start it with: "
            f".venv/bin/python -m localcloud.airflow --state {airflow.home.path.parent} up"
        )


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _conf(text: str) -> dict[str, Any]:
    try:
        conf = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object: {error}") from None
    if not isinstance(conf, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text}")
    return conf


if __name__ == "__main__":
    sys.exit(main())
