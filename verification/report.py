"""The report of a run: JSON for programs, and a page of Markdown for people."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verification.check import Ending, Result
from verification.deployment import Deployment

SCHEMA = "imagen.verification/1"
_ROWS = {
    Ending.DIFFERS: "What differs",
    Ending.NOT_ASKED: "What is not confirmed",
    Ending.HOLDS: "What holds",
}


def as_json(
    results: list[Result], deployment: Deployment, *, version: str, at: datetime, stand_ins: bool
) -> dict[str, Any]:
    """Return the report as JSON.

    Args:
        results: of all checks, in order.
        deployment: what was looked at.
        version: of this code.
        at: when the run began, with a time zone.
        stand_ins: whether any service was a stand-in.
    """
    return {
        "schema": SCHEMA,
        "at": at.astimezone(UTC).isoformat(timespec="seconds"),
        "version": version,
        "on": "stand-ins" if stand_ins else "Google Cloud",
        "region": deployment.region,
        "model": deployment.model,
        "image_tag": deployment.image_tag,
        "counts": dict(Counter(result.ending.value for result in results)),
        "seconds": round(sum(result.seconds for result in results), 1),
        "cost_usd": round(sum(result.usd for result in results), 4),
        "checks": [
            {
                "name": result.check.name,
                "believed": result.check.believed,
                "where": result.check.where,
                "expected": result.check.expected,
                "ending": result.ending.value,
                "seen": result.seen,
                "seconds": round(result.seconds, 1),
                "cost_usd": round(result.usd, 4),
                "facts": result.facts,
            }
            for result in results
        ],
    }


def as_markdown(report: dict[str, Any]) -> str:
    """Return the page about a report: what differs first."""
    counts = report["counts"]
    lines = [
        f"# Verified on {report['on']}, {report['at'][:10]}",
        "",
        f"Version {report['version']}, images {report['image_tag'] or 'unknown'}, "
        f"{report['region']}, model {report['model']}. "
        f"{counts.get(Ending.HOLDS, 0)} checks hold, {counts.get(Ending.DIFFERS, 0)} differ, "
        f"{counts.get(Ending.NOT_ASKED, 0)} were not asked. It took "
        f"{report['seconds'] / 60:.0f} minutes, and models' answers cost "
        f"{report['cost_usd']:.2f} USD.",
    ]
    for ending, title in _ROWS.items():
        rows = [check for check in report["checks"] if check["ending"] == ending]
        if not rows:
            continue
        lines += ["", f"## {title}", "", "| check | believed | seen | seconds | USD |"]
        lines += ["|---|---|---|---|---|"]
        for check in rows:
            believed = f"{check['believed']} (`{check['where']}`)"
            if ending is Ending.DIFFERS:
                believed += f" Expected: {check['expected']}."
            cells = (check["name"], believed, check["seen"])
            lines.append(
                f"| {' | '.join(map(_cell, cells))} | {check['seconds']:.0f} "
                f"| {check['cost_usd']:.4f} |"
            )
    return "\n".join(lines) + "\n"


def write(report: dict[str, Any], path: Path) -> tuple[Path, Path]:
    """Write both forms beside each other, and return their paths.

    Args:
        report: from `as_json`.
        path: of the JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = path.with_suffix(".md")
    page.write_text(as_markdown(report), encoding="utf-8")
    return path, page


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
