"""`python -m localcloud.airflow`: an Airflow beside the local cloud, up, down, and into its DAGs.

python -m localcloud.airflow up             start it; returns once the DAGs are there
python -m localcloud.airflow url            print where it is, and the logins
python -m localcloud.airflow trigger DAG    start a run; --wait until it has succeeded
python -m localcloud.airflow down           stop it, and what a crash left behind
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from localcloud.__main__ import environment_of
from localcloud.airflow.answers import AirflowError
from localcloud.airflow.environment import USERS
from localcloud.airflow.standalone import ROOT, Airflow
from localcloud.resources import Names

_DAG_WITHIN_S = 600.0


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
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
            _must_run(airflow)
            _show(airflow)
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
    parser.add_argument("--state", type=Path, default=Path(".state/localcloud"), metavar="FOLDER")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start it")
    up.add_argument("--dags", type=Path, default=ROOT / "dags", metavar="FOLDER")
    up.add_argument("--plugins", type=Path, default=ROOT / "plugins", metavar="FOLDER")
    up.add_argument("--bucket", default=Names.bucket)
    up.add_argument("--triggerer", action="store_true", help="run what tasks defer, too")
    up.add_argument("--paused", action="store_true", help="leave new DAGs switched off")
    up.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="one more variable for Airflow, e.g. IMAGEN_POKE_SECONDS=5; may be repeated",
    )
    commands.add_parser("down", help="stop it")
    commands.add_parser("url", help="print where it is, and the logins")
    trigger = commands.add_parser("trigger", help="start a run of a DAG")
    trigger.add_argument("dag", metavar="DAG")
    trigger.add_argument(
        "--conf", type=_conf, default={}, metavar="JSON", help="values for the DAG's params"
    )
    trigger.add_argument("--wait", action="store_true", help="until it has succeeded")
    return parser


def _up(airflow: Airflow, arguments: argparse.Namespace) -> None:
    cloud = environment_of(arguments.state.resolve())
    if cloud is None:
        raise AirflowError(
            f"no local cloud runs on {arguments.state}; start it with: "
            f"python -m localcloud --state {arguments.state} up --detach"
        )
    if airflow.components() and (lost := airflow.lost()):
        print(f"started again what had ended: {', '.join(lost)}")
        for name in lost:
            airflow.restart(name)
        airflow.wait_until_ready()
        return
    airflow.start(
        cloud,
        dags=arguments.dags,
        plugins=arguments.plugins,
        bucket=arguments.bucket,
        paused=arguments.paused,
        triggerer=arguments.triggerer,
        settings=dict(arguments.set),
    )
    try:
        airflow.wait_until_ready()
    finally:
        _show(airflow)


def _show(airflow: Airflow) -> None:
    print(f"Airflow is at {airflow.url}")
    for user, password in airflow.home.passwords().items():
        print(f"  log in as {user} with {password} (role: {USERS.get(user, 'unknown')})")


def _trigger(airflow: Airflow, arguments: argparse.Namespace) -> None:
    _must_run(airflow)
    with airflow.client() as client:
        run_id = client.trigger(arguments.dag, arguments.conf)
        print(f"{airflow.url}/dags/{arguments.dag}/runs/{run_id}", flush=True)
        if arguments.wait:
            client.wait_for_run(arguments.dag, run_id, within_s=_DAG_WITHIN_S)


def _must_run(airflow: Airflow) -> None:
    if not airflow.running():
        raise AirflowError(
            "no Airflow runs on this state; start it with: "
            f"python -m localcloud.airflow --state {airflow.home.path.parent} up"
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
