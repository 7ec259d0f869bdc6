"""`python -m verification`: check a deployment, which `scripts/02_verify_deployment.sh` names."""

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from beam_jobs.cli.terminal import GREEN, RED, YELLOW, painted
from beam_jobs.shown import shown
from verification import report
from verification.access import Access
from verification.check import Check, Ending, Result
from verification.checks import checks_of
from verification.deployment import Deployment, DeploymentError
from verification.runner import run, selected
from verification.visit import Visit

_COLOURS = {Ending.HOLDS: GREEN, Ending.DIFFERS: RED, Ending.NOT_ASKED: YELLOW}
# Exit codes. 2 is that of wrong arguments.
HOLDS, DIFFERS, INCOMPLETE = 0, 1, 3


def main(argv: list[str] | None = None) -> int:
    """Run, and return the exit code: 1 if anything differs, 3 if something was not asked."""
    arguments = _parser().parse_args(argv)
    try:
        deployment = Deployment.from_environment()
        checks = selected(checks_of(deployment), arguments.only)
    except (DeploymentError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.dry_run:
        _list(checks, arguments.budget_usd)
        return HOLDS
    visit = Visit(deployment, Access(deployment))
    at = datetime.now(UTC)
    print(f"{len(checks)} checks of {deployment.project}; what they make is called {visit.mark}")
    results: list[Result] = []

    def done(result: Result) -> None:
        results.append(result)
        _print(result)

    try:
        for _ in run(
            checks,
            visit,
            budget_usd=arguments.budget_usd,
            seconds=arguments.minutes * 60,
            done=done,
        ):
            pass
    except KeyboardInterrupt:
        print("interrupted; what was made is cleaned up", file=sys.stderr)
    finally:
        found = report.as_json(
            results,
            deployment,
            version=_version(),
            at=at,
            stand_ins=visit.access.on_stand_ins,
        )
        for path in report.write(found, arguments.output):
            print(f"written: {path}")
    return _exit_code(results, len(checks))


def _exit_code(results: list[Result], checks: int) -> int:
    endings = {result.ending for result in results}
    if Ending.DIFFERS in endings:
        return DIFFERS
    # The results have cleaning up in addition.
    return INCOMPLETE if Ending.NOT_ASKED in endings or len(results) <= checks else HOLDS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/02_verify_deployment.sh", description=__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="list the checks and what they cost at most"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a check, or a pattern such as 'role *'; repeatable; what it needs runs too",
    )
    parser.add_argument(
        "--budget-usd",
        type=_above_0,
        default=2.0,
        metavar="USD",
        help="what models may cost at most (default: %(default)s)",
    )
    parser.add_argument(
        "--minutes",
        type=_above_0,
        default=30.0,
        help="when no further check begins (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("verification.json"),
        metavar="FILE",
        help="where the report goes, with a page of Markdown beside it (default: %(default)s)",
    )
    return parser


def _above_0(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _list(checks: list[Check], budget_usd: float) -> None:
    for check in checks:
        cost = f"up to {check.usd:.2f} USD" if check.usd else "free"
        print(f"{check.name:34} {cost:18} {check.believed} ({check.where})")
    usd = sum(check.usd for check in checks)
    minutes = sum(check.limit_s for check in checks if check.limit_s > 60) / 60
    print(
        f"{len(checks)} checks, up to {usd:.2f} USD for models (budget: {budget_usd:.2f}), and "
        f"some cents for Dataflow's workers; {minutes:.0f} minutes if each one waits for as long "
        "as it may"
    )


def _print(result: Result) -> None:
    mark = painted(f"{result.ending.value:9}", _COLOURS[result.ending], sys.stdout)
    line = f"{result.check.name}: {result.seen}"
    if result.ending is Ending.DIFFERS:
        line += f" (expected: {result.check.expected})"
    print(f"{mark} {result.seconds:5.0f} s  {shown(line)}", flush=True)


def _version() -> str:
    command = ["git", "describe", "--tags", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
