"""Renders the figures as a Markdown page."""

import statistics
from collections.abc import Iterator

from bench.check import Figures
from bench.checks import checks

NAMES = {
    "one_by_one": "one call after another in `run_inference`, 12 threads",
    "beam_gemini": "Beam's `GeminiModelHandler`, batch size 1, 12 threads",
    "beam_rate_limiter": "Beam's `RemoteModelHandler(rate_limiter=…)`, batch size 1, 12 threads",
    "beam_gemini_64": "Beam's `GeminiModelHandler`, batch size 1, 64 threads",
    "beam_async_wrapper": "Beam's `AsyncWrapper`, 64 threads, a stream",
    "asyncio_genai": "no Beam: one asyncio loop with google-genai",
    "backfill": "ours, backfill",
    "stream": "ours, stream",
}
# Of what Beam itself offers for slow calls.
LOSSES = {
    "beam_rate_limiter": (
        "needs a service to run beside the job, and a request to it for each call; a batch whose "
        "last call fails is paid for again as a whole; a limit that is set, not learned"
    ),
    "beam_gemini_64": (
        "in batches of more than one, all results but the first "
        "([finding](../findings/beam_gemini_batch.sh)); a thread for each call, and a connection"
    ),
    "beam_async_wrapper": (
        "one of two equal elements, after it was paid for "
        "([finding](../findings/beam_async_wrapper_equal.sh)); with an input that ends, what is "
        "not done by then on the DirectRunner, and the job on FnApiRunner"
    ),
}
_ABOUT = (
    "Everything shares these cores: the job or contender, the stand-ins for Google Cloud, and the",
    "programs that publish and receive. The models return prepared images. Contenders call the",
    "same models and write images into a folder in memory. Our jobs also look up each prompt,",
    "store image and record, and publish the prediction. All run with a worker's packages. Rates",
    "are measured from the first model call to the last outcome. CPU is the process's, per prompt;",
    "memory is its peak resident size.",
)


def page(results: Figures) -> str:
    """Return the page in Markdown."""
    machine = results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Measured by `make bench` {_environment(machine)}.",
        "",
        *_ABOUT,
        "",
        "| figure | target | measured | |",
        "|---|---|---|---|",
        *(
            f"| {check.figure} | {check.target} | {check.measured} | {'✓' if check.met else '✗'} |"
            for check in checks(results)
        ),
        "",
    ]
    for scenario, section in _SECTIONS.items():
        if scenario in results:
            lines += [*section(results[scenario]), ""]
            if (own := results[scenario].get("machine", machine)) != machine:
                lines += [f"(This section was measured {_environment(own)}.)", ""]
    return "\n".join(lines)


def _environment(machine: Figures) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"on {machine['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']} GB, {machine['system']}; {versions}"
    )


def _table(runs: list[Figures]) -> Iterator[str]:
    yield "| | prompts | prompts/s | CPU per prompt | peak memory | refused | paid twice |"
    yield "|---|---|---|---|---|---|---|"
    for group in dict.fromkeys((run["contender"], run["prompts"]) for run in runs):
        grouped = [run for run in runs if (run["contender"], run["prompts"]) == group]

        def spread(name: str, form: str, grouped: list[Figures] = grouped) -> str:
            values = sorted(run[name] for run in grouped)
            median = f"{statistics.median(values):{form}}"
            if len(values) == 1:
                return median
            return f"{median} ({values[0]:{form}}–{values[-1]:{form}})"

        yield (
            f"| {NAMES.get(group[0], group[0])} | {group[1]:,} | {spread('per_s', '.1f')} "
            f"| {spread('cpu_ms', '.1f')} ms | {spread('peak_mb', '.0f')} MB "
            f"| {sum(run['refused'] for run in grouped)} "
            f"| {sum(run['paid_twice'] for run in grouped)} |"
        )


def _comparison_section(figures: Figures) -> Iterator[str]:
    yield "## Compared with alternatives"
    yield ""
    yield "0.5 s of latency, 1.5 MB images, 64 calls in flight where that can be configured. Each"
    yield "figure is the median, with the range in parentheses."
    yield ""
    yield from _table(figures["runs"])
    yield ""
    yield "![Prompts a second, CPU and memory of the contenders and ours](bench-comparison.png)"


def _beams_own_section(figures: Figures) -> Iterator[str]:
    yield "## Compared with what Beam offers for slow calls"
    yield ""
    yield "0.5 s of latency and 1.5 MB images. After each run, our backfill runs with as many"
    yield "prompts, and figures are ratios to that run. None of these looks for images that exist,"
    yield "claims prompts, or publishes."
    yield ""
    yield "| | prompts | prompts/s | CPU per prompt | peak memory | what it loses |"
    yield "|---|---|---|---|---|---|"
    runs = figures["runs"]
    for theirs, ours in zip(runs[::2], runs[1::2], strict=True):
        ratios = (theirs[name] / ours[name] for name in ("per_s", "cpu_ms", "peak_mb"))
        yield (
            f"| {NAMES[theirs['contender']]} | {theirs['prompts']:,} "
            f"| {' | '.join(f'{ratio:.2f}' for ratio in ratios)} "
            f"| {LOSSES[theirs['contender']]} |"
        )


def _scaling_section(figures: Figures) -> Iterator[str]:
    yield "## Few and many prompts"
    yield ""
    yield from _table(figures["runs"])


def _wide_section(figures: Figures) -> Iterator[str]:
    yield f"## {figures['in_flight']} in flight, small images"
    yield ""
    yield "The CPU time that a prompt takes. Python computes on one core at a time, so the last"
    yield "column is what a process with a core of its own could reach; here it shares two cores"
    yield "with the stand-ins. *In the middle* leaves out the first and the last tenth of the"
    yield "responses, as in an endless run: the window starts at 64, and near the end there is less"
    yield "to do."
    yield ""
    yield "| | prompts/s | in the middle | the job | stand-ins | cores busy | one process at most |"
    yield "|---|---|---|---|---|---|---|"
    for run in figures["runs"]:
        yield (
            f"| {NAMES[run['contender']]} | {run['per_s']:.0f} | {run['middle_per_s']:.0f} "
            f"| {run['cpu_ms']:.1f} ms "
            f"| {run['others_cpu_ms']:.1f} ms | {run['busy']:.0%} | {1000 / run['cpu_ms']:.0f}/s |"
        )


def _thousand_section(figures: Figures) -> Iterator[str]:
    yield "## 1,024 in flight"
    yield ""
    yield "1.5 MB images. *Possible* is calls in flight ÷ latency. *Before* is the build that was"
    yield "run in turn with this one: `python -m bench --only thousand --against FOLDER`."
    yield ""
    yield (
        "| build | in flight | latency | prompts | prompts/s, of those possible | in the middle "
        "| CPU per prompt | peak memory | sockets |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for run in figures["runs"]:
        possible = run["in_flight"] / run["latency_s"]
        yield (
            f"| {'this' if run['build'] == 'this' else 'before'} | {run['in_flight']:,} "
            f"| {run['latency_s']:g} s | {run['prompts']:,} | {run['per_s'] / possible:.2f} "
            f"| {run['middle_per_s'] / possible:.2f} | {run['cpu_ms']:.1f} ms "
            f"| {run['peak_mb']:.0f} MB | {run['most_sockets']:,} |"
        )


def _storage_limits_section(figures: Figures) -> Iterator[str]:
    yield "## 1,024 in flight, and less of a storage"
    yield ""
    yield "10 s of latency, small images. With 50 requests/s, there are fewer prompts, and 1 s."
    yield ""
    yield "| storage | prompts | seconds | requests to storage | peak memory | paid twice |"
    yield "|---|---|---|---|---|---|"
    for run in figures["runs"]:
        yield (
            f"| {run['storage']} | {run['prompts']:,} | {run['seconds']:.0f} "
            f"| {run['storage_calls']:,} | {run['peak_mb']:.0f} MB | {run['paid_twice']} |"
        )


def _tail_section(figures: Figures) -> Iterator[str]:
    yield "## One call in a hundred takes twenty times as long"
    yield ""
    yield "Rates leave out the first and the last tenth of the responses, as in an endless run. A"
    yield "slow call occupies its place in the window. So a window that stays full reaches"
    yield "1 ÷ (0.99 + 0.01 × 20) = 0.84 of its rate without slow calls; a window that was not full"
    yield "loses less."
    yield ""
    yield "| | slow calls | prompts/s | in flight, of the window |"
    yield "|---|---|---|---|"
    for run in figures["runs"]:
        yield (
            f"| {NAMES[run['contender']]} | {run['tail_rate']:.0%} | {run['middle_per_s']:.0f} "
            f"| {run['middle_in_flight']:.1f} of {figures['in_flight']} |"
        )


def _files_section(figures: Figures) -> Iterator[str]:
    yield "## Short prompts from files, a model without latency"
    yield ""
    yield from _table(figures["runs"])


def _quota_section(figures: Figures) -> Iterator[str]:
    del figures
    yield "## A quota that is halved and restored"
    yield ""
    yield "*Settled* means that from then on two in three windows of 2 s are within 10% of the"
    yield "quota."
    yield ""
    yield "![Accepted and refused calls a second over time](bench-quota.png)"


def _shared_section(figures: Figures) -> Iterator[str]:
    yield "## A rate that four workers share"
    yield ""
    rate = f"{figures['per_minute']:.0f}"
    yield f"`--max_requests_per_minute={rate}`, and a quota of as many. Each worker is a process of"
    yield "its own. At first one has calls to make, then four have, then one of them is killed."
    yield ""
    yield "![Accepted and refused calls a second of all workers over time](bench-shared.png)"


def _budget_section(figures: Figures) -> Iterator[str]:
    yield "## A budget of which workers die"
    yield ""
    yield f"Four workers have a budget of {figures['budget']:,} images and more prompts than that."
    yield f"One is killed, and another started, {figures['kills']} times. What it had leased and"
    yield "not begun to spend comes back; what it was paying for counts as spent. *In flight* adds"
    yield "up the calls of all four workers at the times of the kills."
    yield ""
    yield "| killed | images paid | noted in the ledger | in flight |"
    yield "|---|---|---|---|"
    yield (
        f"| {figures['kills']} | {figures['paid']:,} | {figures['leased']:,} "
        f"| {figures['in_flight']} |"
    )


def _latency_section(figures: Figures) -> Iterator[str]:
    yield "## Latency in addition to the model's"
    yield ""
    yield f"![Distribution of the added latency of {figures['prompts']} prompts](bench-latency.png)"


def _cold_section(figures: Figures) -> Iterator[str]:
    yield "## Start-up"
    yield ""
    for name, values in figures["seconds"].items():
        yield (
            f"- {name}: {statistics.median(values):.1f} s ({min(values):.1f}–{max(values):.1f}) "
            "from the start of the process to its first model call"
        )


def _parsing_section(figures: Figures) -> Iterator[str]:
    values = figures["seconds"]
    yield (
        f"- DAG files: {1000 * statistics.median(values):.0f} ms "
        f"({1000 * min(values):.0f}–{1000 * max(values):.0f}) to parse all of them, without the "
        "import of `airflow.sdk`"
    )


_SECTIONS = {
    "comparison": _comparison_section,
    "beams_own": _beams_own_section,
    "scaling": _scaling_section,
    "wide": _wide_section,
    "thousand": _thousand_section,
    "storage_limits": _storage_limits_section,
    "tail": _tail_section,
    "quota": _quota_section,
    "shared": _shared_section,
    "budget": _budget_section,
    "latency": _latency_section,
    "files": _files_section,
    "cold": _cold_section,
    "parsing": _parsing_section,
}
