"""The figures as a page."""

import statistics
from collections.abc import Iterator

from bench.checks import Figures, checks

NAMES = {
    "one_by_one": "one call after another in `run_inference`, 12 threads",
    "beam_gemini": "Beam's `GeminiModelHandler`, batch size 1, 12 threads",
    "asyncio_genai": "no Beam: one asyncio loop with google-genai",
    "backfill": "ours, backfill",
    "stream": "ours, stream",
}
_ABOUT = (
    "Everything shares these cores: the job or contender, the stand-ins for Google Cloud, and",
    "what publishes and receives. The models answer from encoded bytes. Contenders call the same",
    "models and write into a folder in memory; ours looks each prompt up, stores image and record,",
    "and publishes. All run with a worker's packages. Rates are from the first model call to the",
    "last outcome; CPU is of the process, per prompt; memory is its largest resident size.",
)


def page(results: Figures) -> str:
    """The page in Markdown."""
    machine = results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"By `make bench`, {_where(machine)}.",
        "",
        *_ABOUT,
        "",
        "| figure | target | measured | |",
        "|---|---|---|---|",
        *(
            f"| {one.figure} | {one.target} | {one.measured} | {'✓' if one.met else '✗'} |"
            for one in checks(results)
        ),
        "",
    ]
    for scenario, section in _SECTIONS.items():
        if scenario in results:
            lines += [*section(results[scenario]), ""]
            if (own := results[scenario].get("machine", machine)) != machine:
                lines += [f"(This part {_where(own)}.)", ""]
    return "\n".join(lines)


def _where(machine: Figures) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"on {machine['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']} GB, {machine['system']}; {versions}"
    )


def _table(runs: list[Figures]) -> Iterator[str]:
    yield "| | prompts | prompts/s | CPU per prompt | peak memory | refused | paid twice |"
    yield "|---|---|---|---|---|---|---|"
    for group in dict.fromkeys((run["contender"], run["prompts"]) for run in runs):
        mine = [run for run in runs if (run["contender"], run["prompts"]) == group]

        def spread(name: str, form: str, mine: list[Figures] = mine) -> str:
            values = sorted(run[name] for run in mine)
            middle = f"{statistics.median(values):{form}}"
            if len(values) == 1:
                return middle
            return f"{middle} ({values[0]:{form}}–{values[-1]:{form}})"

        yield (
            f"| {NAMES.get(group[0], group[0])} | {group[1]:,} | {spread('per_s', '.1f')} "
            f"| {spread('cpu_ms', '.1f')} ms | {spread('peak_mb', '.0f')} MB "
            f"| {sum(run['refused'] for run in mine)} | {sum(run['paid_twice'] for run in mine)} |"
        )


def _comparison_section(found: Figures) -> Iterator[str]:
    yield "## Against what else people would run"
    yield ""
    yield "0.5 s of latency, 1.5 MB images, 64 in flight where that can be said. Median, and from"
    yield "least to most."
    yield ""
    yield from _table(found["runs"])
    yield ""
    yield "![Prompts a second, CPU and memory of the contenders and ours](bench-comparison.png)"


def _scaling_section(found: Figures) -> Iterator[str]:
    yield "## Few prompts and many"
    yield ""
    yield from _table(found["runs"])


def _wide_section(found: Figures) -> Iterator[str]:
    yield f"## {found['in_flight']} in flight, small images"
    yield ""
    yield "What a prompt takes of the cores. Python computes on one core at a time: a process with"
    yield "a core to itself could do what the last column says; here it shares two with the"
    yield "stand-ins. *In the middle*: between the first tenth of the answers and the last, as in a"
    yield "run without an end; the window opens from 64, and at the end there is less to do."
    yield ""
    yield "| | prompts/s | in the middle | the job | stand-ins | cores busy | one process at most |"
    yield "|---|---|---|---|---|---|---|"
    for run in found["runs"]:
        yield (
            f"| {NAMES[run['contender']]} | {run['per_s']:.0f} | {run['middle_per_s']:.0f} "
            f"| {run['cpu_ms']:.1f} ms "
            f"| {run['others_cpu_ms']:.1f} ms | {run['busy']:.0%} | {1000 / run['cpu_ms']:.0f}/s |"
        )


def _tail_section(found: Figures) -> Iterator[str]:
    yield "## One call in a hundred takes twenty times as long"
    yield ""
    yield "Rates between the first tenth of the answers and the last, as in a run without an end."
    yield "A slow call keeps its place in the window: one that was full, and stays so, then gives"
    yield "1 ÷ (0.99 + 0.01 × 20) = 0.84 of what it gave; less is lost where it was not full."
    yield ""
    yield "| | calls that take as long | prompts/s | in flight, of the window |"
    yield "|---|---|---|---|"
    for run in found["runs"]:
        yield (
            f"| {NAMES[run['contender']]} | {run['tail_rate']:.0%} | {run['middle_per_s']:.0f} "
            f"| {run['middle_in_flight']:.1f} of {found['in_flight']} |"
        )


def _files_section(found: Figures) -> Iterator[str]:
    yield "## Short prompts from files, a model that answers at once"
    yield ""
    yield from _table(found["runs"])


def _quota_section(found: Figures) -> Iterator[str]:
    del found
    yield "## A quota that is halved and restored"
    yield ""
    yield "*Settled*: from then on two windows of 2 s in three are within 10 % of the quota."
    yield ""
    yield "![Accepted and refused calls a second over time](bench-quota.png)"


def _latency_section(found: Figures) -> Iterator[str]:
    yield "## What the way adds to the model's latency"
    yield ""
    yield f"![How {found['prompts']} prompts' added latencies are spread](bench-latency.png)"


def _cold_section(found: Figures) -> Iterator[str]:
    yield "## Starting"
    yield ""
    for name, values in found["seconds"].items():
        yield (
            f"- {name}: {statistics.median(values):.1f} s ({min(values):.1f}–{max(values):.1f}) "
            "from the start of the process to its first model call"
        )


def _parsing_section(found: Figures) -> Iterator[str]:
    values = found["seconds"]
    yield (
        f"- DAG files: {1000 * statistics.median(values):.0f} ms "
        f"({1000 * min(values):.0f}–{1000 * max(values):.0f}) to parse all of them, beyond "
        "`airflow.sdk`"
    )


_SECTIONS = {
    "comparison": _comparison_section,
    "scaling": _scaling_section,
    "wide": _wide_section,
    "tail": _tail_section,
    "quota": _quota_section,
    "latency": _latency_section,
    "files": _files_section,
    "cold": _cold_section,
    "parsing": _parsing_section,
}
