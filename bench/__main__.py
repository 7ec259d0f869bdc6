"""`python -m bench`: run all scenarios, and write their figures to `docs/benchmarks.md`.

    python -m bench --only quota latency      run some scenarios; the page keeps the earlier
                                              figures of the others, with their date
    python -m bench --only thousand --against ../main
                                              also run the build in that folder, side by side

The figures are saved in `.state/bench/results.json`. On two cores all scenarios take about half an
hour, during which nothing else should run.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from bench import checks, plots, report
from bench.interpreter import ROOT, python
from bench.scenarios import SCENARIOS
from bench.stand_ins import cloud

RESULTS = ROOT / ".state/bench/results.json"
DOCS = ROOT / "docs"
PACKAGES = ("apache-beam", "google-genai", "aiohttp", "gcloud-aio-storage", "orjson")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(SCENARIOS),
        default=list(SCENARIOS),
        help="run these scenarios only (default: all)",
    )
    parser.add_argument(
        "--against", type=Path, help="the folder of another build, for the scenario thousand"
    )
    options = parser.parse_args()
    selected, against = options.only, options.against and options.against.resolve()
    run_all = set(selected) == set(SCENARIOS)
    if not run_all and not RESULTS.exists():
        parser.error(
            f"--only needs earlier figures of the other scenarios, but {RESULTS} does not exist; "
            "run all scenarios first"
        )
    print("Installing the packages of a worker …", flush=True)
    python()
    results: dict[str, Any] = {}
    if not run_all:
        results = json.loads(RESULTS.read_text())
    this_machine = results["machine"] = machine()
    for name in selected:
        print(f"── {name}", flush=True)
        with cloud(against) as running_cloud:
            figures = SCENARIOS[name](running_cloud, lambda line: print(f"   {line}", flush=True))
        results[name] = {**figures, "machine": this_machine}
        RESULTS.write_text(json.dumps(results))
    (DOCS / "benchmarks.md").write_text(report.page(results))
    plots.draw(results, DOCS)
    for check in checks.checks(results):
        mark = "✓" if check.met else "✗"
        print(f"{mark} {check.figure}: {check.measured} (target: {check.target})")
    return 0


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the figures are from."""
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": {
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


def _field(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


if __name__ == "__main__":
    sys.exit(main())
