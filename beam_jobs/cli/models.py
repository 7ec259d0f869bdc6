"""`python -m beam_jobs models`: what the catalog says of each model, and what is about to end."""

import datetime
import sys
from collections.abc import Mapping

from beam_jobs.catalog import WARN_DAYS, Batch, CatalogModel, Tier
from beam_jobs.cli.terminal import RED, YELLOW, painted

# Days before the end of the default model, from which `--check` fails.
FAIL_DAYS = 30


def show_models(models: Mapping[str, CatalogModel], default: str, today: datetime.date) -> None:
    """Print the table of models, the default first.

    Args:
        models: by name.
        default: the model for prompts that don't name one.
        today: the day to count from.
    """
    for name in sorted(models, key=lambda name: (name != default, name)):
        row = models[name]
        print(f"{name}{' (default)' if name == default else ''}")
        for label, text in _facts(row):
            print(f"  {label:<16}{text}")
        if ending := row.ending(today, within_days=WARN_DAYS):
            print(f"  {painted(ending, YELLOW, sys.stdout)}")
        print()
    print("USD per image, without the tokens of the prompt and of thinking; ? is unknown.")


def default_ends_soon(
    models: Mapping[str, CatalogModel], default: str, today: datetime.date
) -> bool:
    """Print whether the default model ends within `FAIL_DAYS`, and return it."""
    row = models.get(default)
    if row is None:
        print(f"{default} is not in the catalog, so its end is unknown")
        return False
    ending = row.ending(today, within_days=FAIL_DAYS)
    if ending:
        print(painted(f"{default}, the default: {ending}", RED, sys.stdout))
    else:
        print(f"{default}, the default: no end within {FAIL_DAYS} days is known")
    return ending is not None


def _facts(row: CatalogModel) -> list[tuple[str, str]]:
    usd = "  ".join(f"{size} {_usd(row.usd_per_image(size))}" for size in row.image_tokens)
    tiers = ", ".join(
        tier if tier == Tier.STANDARD else f"{tier} (x {'?' if ratio is None else f'{ratio:g}'})"
        for tier, ratio in row.tiers.items()
    )
    facts = [
        ("USD/image", usd),
        ("tiers", tiers),
        ("batch", _batch(row.batch) if row.batch else "not served"),
        ("aspect ratios", " ".join(row.aspect_ratios)),
        ("thinking", ", ".join(_levels(row)) or "not selectable"),
        ("references", f"up to {row.max_references}"),
        ("locations", ", ".join(row.locations)),
    ]
    if row.deprecated:
        facts.append(("deprecated", f"since {row.deprecated}"))
    for end in row.ends:
        meaning = "" if end.meaning == "announced" else "not before "
        facts.append((f"end, {end.platform}", f"{meaning}{end.on} ({end.source})"))
    if row.successor:
        facts.append(("successor", row.successor))
    facts.append(("looked up", f"{row.looked_up}: {row.sources[0]}"))
    return facts


def _batch(batch: Batch) -> str:
    return f"x {batch.price:g}, {' '.join(batch.sizes)} only, at {', '.join(batch.locations)}"


def _levels(row: CatalogModel) -> list[str]:
    return [
        f"{level} (default)" if level == row.default_thinking_level else level
        for level in row.thinking_levels
    ]


def _usd(value: float | None) -> str:
    return "?" if value is None else f"{value:.4f}"
