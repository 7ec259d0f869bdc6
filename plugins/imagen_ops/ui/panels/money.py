"""What images cost today and this month, where that is known, and what is left of the budgets."""

import dataclasses
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from beam_jobs.names import DAY_LEDGER, HOUR_LEDGER, LEDGER_SCHEMA
from imagen_ops.records.folders import BACKFILL_RECORDS, HEALTH_RECORDS
from imagen_ops.ui.image_index import ImageIndex
from imagen_ops.ui.index_reader import IndexReader
from imagen_ops.ui.panels.backfills import BEFORE_THE_JOB, runs
from imagen_ops.ui.panels.health_history import HealthCheck, health_checks, in_order, spent
from imagen_ops.ui.storage import Deadline, Storage
from imagen_ops.ui.untrusted import mapping, moment, number, records

_COUNTED = ("cost_micro_usd", "unpriced_calls")
# The index is there already whenever somebody has the page open.
_PATIENCE_S = 1.0


class Money:
    """Reads what images cost.

    Args:
        storage: the deployment's.
        index: of the images.
        reader: keeps it up to date.
    """

    def __init__(self, storage: Storage, index: ImageIndex, reader: IndexReader) -> None:
        # A month of health checks, of which little is needed.
        self._storage = storage.apart(reads=4, cached_characters=5_000_000)
        self._index = index
        self._reader = reader

    def read(self, now: datetime | None = None) -> dict[str, Any]:
        """Return the costs and budgets of today and of this month, in UTC. Blocks.

        Returns:
            `day` and `month`, each with `since`; `stream`: `usd` and `unpriced_calls`, by health
            checks; `backfills`: `usd`, `estimated_usd`, `runs` and `unknown`, by their records; and
            `by`: the costs by model and source, by the index of images. `indexed`: how far that is
            complete. `budgets`: the stream's. What is unknown is None.

        Raises:
            ReadError: the records cannot be read.
        """
        now, deadline = now or datetime.now(UTC), Deadline()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        month = today.replace(day=1)
        settings = self._storage.settings()
        progress = self._reader.progress(_PATIENCE_S)
        checks = self._checks(month, deadline)
        ended = self._backfills(month, deadline)
        return {
            **{
                name: {
                    "since": since.isoformat(),
                    "stream": spent(checks, since),
                    "backfills": _costs(ended, since),
                    "by": [dataclasses.asdict(row) for row in self._index.spent(since)],
                }
                for name, since in (("day", today), ("month", month))
            },
            "indexed": {
                "since": progress.since.isoformat() if progress.since else None,
                "complete": progress.complete,
                "error": progress.error,
            },
            "budgets": [
                self._budget("hour", HOUR_LEDGER, settings.stream_max_images_per_hour, now),
                self._budget("day", DAY_LEDGER, settings.stream_max_images_per_day, now),
            ],
        }

    def _checks(self, since: datetime, deadline: Deadline) -> list[HealthCheck]:
        # The first check of a period counts from the one before it on.
        days = self._storage.list_days(HEALTH_RECORDS, since - timedelta(days=1), deadline)
        return in_order(self._storage.read(days, counted_checks, deadline))

    def _backfills(self, since: datetime, deadline: Deadline) -> list[dict[str, Any]]:
        days = self._storage.list_days(BACKFILL_RECORDS, since, deadline)
        # A run whose task was retried after midnight is in two days: the later one counts.
        read = self._storage.read(days, runs, deadline)
        latest = {run["run_id"]: run for day in read for run in day}.values()
        return [run for run in latest if run["state"] not in BEFORE_THE_JOB]

    def _budget(
        self, period: str, ledger_name: str, limit: int | None, now: datetime
    ) -> dict[str, Any]:
        """Return what is left of one of the stream's budgets; a form may have set another limit."""
        file = io.BytesIO()
        self._storage.download(now.strftime(ledger_name), file)
        content = file.getvalue().replace(b"\n", b" ")
        ledger = next(records(content), {})
        known = ledger.get("schema") == LEDGER_SCHEMA
        shares = [mapping(share) for share in mapping(ledger.get("shares")).values()]
        leased = sum(number(share.get("leased")) or 0 for share in shares)
        paid = sum(number(share.get("spent")) or 0 for share in shares)
        # Without a ledger, nothing was paid for yet.
        images = number(ledger.get("images")) if content else limit
        return {
            "period": period,
            "images": images,
            # What is leased may be paid for or given back.
            "left": None if images is None else max(0, images - leased),
            "leased": max(0, leased - paid),
            "spent": paid,
            "unreadable": bool(content) and not (known and images is not None),
            "renewed_at": _next(period, now).isoformat(),
        }


def counted_checks(lines: Iterator[dict[str, Any]]) -> list[HealthCheck]:
    """Return the health checks in a day's records with nothing but what costs are counted from."""
    return [
        dataclasses.replace(
            check,
            form={},
            reasons=(),
            limits={},
            readings={},
            totals={},
            counted=_costs_in(check.counted),
            grown=None if check.grown is None else _costs_in(check.grown),
        )
        for check in health_checks(lines)
    ]


def _costs_in(counters: Mapping[str, float | int]) -> dict[str, float | int]:
    return {name: counters[name] for name in _COUNTED if name in counters}


def _costs(ended: list[dict[str, Any]], since: datetime) -> dict[str, Any]:
    counted = [run for run in ended if (at := moment(run["at"])) and at >= since]
    costs, estimates = (
        [run[name] for run in counted if run[name] is not None]
        for name in ("cost_usd", "estimated_usd")
    )
    return {
        "runs": len(counted),
        "usd": sum(costs) if costs or not counted else None,
        "estimated_usd": sum(estimates) if estimates or not counted else None,
        "unknown": len(counted) - len(costs),
        "not_estimated": len(counted) - len(estimates),
    }


def _next(period: str, now: datetime) -> datetime:
    hour = now.replace(minute=0, second=0, microsecond=0)
    return hour + timedelta(hours=1 if period == "hour" else 24 - hour.hour)
