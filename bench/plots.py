"""Plots of the figures."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench import check, checks

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
    """Draw the plots of the scenarios in `results` into `folder`."""
    for scenario, picture in (
        ("comparison", _comparison),
        ("quota", _quota),
        ("shared", _shared),
        ("latency", _latency),
    ):
        if scenario in results:
            figure = picture(results[scenario])
            figure.savefig(folder / f"bench-{scenario}.png", dpi=110)
            plt.close(figure)


def _comparison(figures: dict[str, Any]) -> Any:
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
        contenders = [each for each in _LABELS if check.runs_of(figures["runs"], each)]
        values = [[run[name] for run in check.runs_of(figures["runs"], c)] for c in contenders]
        medians = [check.median(check.runs_of(figures["runs"], c), name) for c in contenders]
        spread = [
            [median - min(each) for median, each in zip(medians, values, strict=True)],
            [max(each) - median for median, each in zip(medians, values, strict=True)],
        ]
        colours = [_OURS if each in ("backfill", "stream") else _OTHERS for each in contenders]
        bars = axis.bar(
            [_LABELS[each] for each in contenders], medians, yerr=spread, color=colours, capsize=3
        )
        axis.bar_label(bars, [f"{median:.0f}" for median in medians], padding=4)
        axis.set_title(title)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
    return figure


def _quota(figures: dict[str, Any]) -> Any:
    figure, axis, per_s = _calls_a_second(figures)
    edges = [*figures["changes"], figures["until"]]
    axis.step(
        edges,
        [per_s, per_s / 2, per_s, per_s],
        where="post",
        color="#202124",
        ls="--",
        lw=1,
        label="quota",
    )
    axis.set_ylim(0, None)
    axis.legend(ncols=3, loc="lower right")
    return figure


def _shared(figures: dict[str, Any]) -> Any:
    figure, axis, per_s = _calls_a_second(figures)
    axis.axhline(per_s, color="#202124", ls="--", lw=1, label="the job's rate, and the quota")
    for at, busy in zip(
        figures["changes"], ("one is busy", "four are", "one has died"), strict=True
    ):
        axis.axvline(at, color=_OTHERS, lw=1)
        axis.annotate(busy, (at, 1.2 * per_s), xytext=(4, 0), textcoords="offset points")
    axis.set_ylim(0, 1.3 * per_s)
    axis.legend(ncols=3, loc="lower right")
    return figure


def _calls_a_second(figures: dict[str, Any]) -> tuple[Any, Any, float]:
    """Draw accepted and refused calls over time; return figure, axis, and the quota a second."""
    figure, axis = plt.subplots(figsize=(12, 3.8), layout="constrained")
    rows = checks.rates(figures["rows"])
    times = [row[0] for row in rows]
    axis.plot(times, [row[1] for row in rows], color=_OURS, label="accepted")
    axis.fill_between(times, [row[2] for row in rows], color=_BAD, alpha=0.6, label="refused (429)")
    axis.set(xlabel="seconds", ylabel="calls a second")
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis, figures["per_minute"] / 60


def _latency(figures: dict[str, Any]) -> Any:
    figure, axis = plt.subplots(figsize=(12, 3.2), layout="constrained")
    axis.hist(figures["added_s"], bins=40, color=_OURS)
    axis.axvline(figures["median_s"], color="#202124", ls="--", lw=1)
    axis.axvline(figures["p99_s"], color=_BAD, ls="--", lw=1)
    axis.set(
        xlabel="seconds from publish to prediction, without the model's 10 s",
        ylabel="prompts",
        xlim=(0, None),
    )
    axis.spines[["top", "right"]].set_visible(False)
    return figure
