"""`python -m bench`: every scenario, one after another, and `docs/benchmarks.md` of their figures.

    python -m bench --only quota latency      some of them; the page keeps the others' figures,
                                              and says of when they are

The figures themselves are in `.state/bench/results.json`. On two cores all of it takes about half
an hour, in which nothing else should run.
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
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    wanted = parser.parse_args().only
    whole = set(wanted) == set(SCENARIOS)
    if not whole and not RESULTS.exists():
        parser.error(f"--only: {RESULTS} has no earlier figures of the others; measure all first")
    print("packages of a worker …", flush=True)
    python()
    results: dict[str, Any] = {}
    if not whole:
        results = json.loads(RESULTS.read_text())
    here = results["machine"] = machine()
    for name in wanted:
        print(f"── {name}", flush=True)
        with cloud() as there:
            found = SCENARIOS[name](there, lambda line: print(f"   {line}", flush=True))
        results[name] = {**found, "machine": here}
        RESULTS.write_text(json.dumps(results))
    (DOCS / "benchmarks.md").write_text(report.page(results))
    plots.draw(results, DOCS)
    for one in checks.checks(results):
        print(f"{'✓' if one.met else '✗'} {one.figure}: {one.measured} ({one.target})")
    return 0


def machine() -> dict[str, Any]:
    """What the figures are of."""
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
