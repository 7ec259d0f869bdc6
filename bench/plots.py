"""The figures as pictures."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench import checks

mpl.use("Agg")
from matplotlib import pyplot as plt

_OURS, _OTHERS, _BAD = "#1a73e8", "#9aa0a6", "#d93025"
_LABELS = {
    "one_by_one": "one by\none",
    "beam_gemini": "Beam's\nhandler",
    "asyncio_genai": "asyncio,\nno Beam",
    "backfill": "ours,\nbackfill",
    "stream": "ours,\nstream",
}


def draw(results: dict[str, Any], folder: Path) -> None:
    """Draw a picture for each scenario that has one."""
    for scenario, picture in (
        ("comparison", _comparison),
        ("quota", _quota),
        ("latency", _latency),
    ):
        if scenario in results:
            figure = picture(results[scenario])
            figure.savefig(folder / f"bench-{scenario}.png", dpi=110)
            plt.close(figure)


def _comparison(found: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for axis, (name, title) in zip(
        axes,
        (
            ("per_s", "prompts a second"),
            ("cpu_ms", "CPU per prompt, ms"),
            ("peak_mb", "peak memory, MB"),
        ),
        strict=True,
    ):
        names = [one for one in _LABELS if checks.of(found["runs"], one)]
        values = [[run[name] for run in checks.of(found["runs"], one)] for one in names]
        middles = [checks.median(checks.of(found["runs"], one), name) for one in names]
        spread = [
            [middle - min(each) for middle, each in zip(middles, values, strict=True)],
            [max(each) - middle for middle, each in zip(middles, values, strict=True)],
        ]
        colours = [_OURS if one in ("backfill", "stream") else _OTHERS for one in names]
        bars = axis.bar(
            [_LABELS[one] for one in names], middles, yerr=spread, color=colours, capsize=3
        )
        axis.bar_label(bars, [f"{middle:.0f}" for middle in middles], padding=4)
        axis.set_title(title)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
    return figure


def _quota(found: dict[str, Any]) -> Any:
    figure, axis = plt.subplots(figsize=(12, 3.8), layout="constrained")
    rows = checks.rates(found["rows"])
    times = [row[0] for row in rows]
    axis.plot(times, [row[1] for row in rows], color=_OURS, label="accepted")
    axis.fill_between(times, [row[2] for row in rows], color=_BAD, alpha=0.6, label="refused (429)")
    per_s = found["per_minute"] / 60
    edges = [*found["changes"], found["until"]]
    axis.step(
        edges,
        [per_s, per_s / 2, per_s, per_s],
        where="post",
        color="#202124",
        ls="--",
        lw=1,
        label="quota",
    )
    axis.set(xlabel="seconds", ylabel="calls a second", ylim=(0, None))
    axis.legend(ncols=3, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _latency(found: dict[str, Any]) -> Any:
    figure, axis = plt.subplots(figsize=(12, 3.2), layout="constrained")
    axis.hist(found["added_s"], bins=40, color=_OURS)
    axis.axvline(found["median_s"], color="#202124", ls="--", lw=1)
    axis.axvline(found["p99_s"], color=_BAD, ls="--", lw=1)
    axis.set(
        xlabel="seconds from publish to prediction, less the model's ten",
        ylabel="prompts",
        xlim=(0, None),
    )
    axis.spines[["top", "right"]].set_visible(False)
    return figure
