"""How the quotas of a job are split among its busy workers: one small object that all read. Pure.

It says the same to everybody, in a few numbers, so that its size does not depend on how many they
are. A worker's share follows from them and from what it has reported itself.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from beam_jobs.fleet.learning import Learned, learn
from beam_jobs.fleet.report import Report
from beam_jobs.fleet.sharing import Level, share

SCHEMA = "imagen.fleet/1"
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """How one quota is split.

    Args:
        per_second: calls that all workers together may start per second.
        level: what everybody gets of it.
        learned: what is known of it; None: an option sets it.
        workers: how many use it.
    """

    per_second: float
    level: Level
    learned: Learned | None = None
    workers: int = 0

    def share(self, wants: float | None) -> float | None:
        """Return a worker's share, in calls per second; None: it learns alone what it may.

        Args:
            wants: calls that it could start per second; None: it has not been heard yet.
        """
        if self.learned and self.workers == 1 and wants is not None:
            return None
        return self.level.share(wants)

    @property
    def version(self) -> int:
        """The version of the rate, from 1."""
        return self.learned.version if self.learned else 1


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """How all quotas are split.

    Args:
        quotas: by their names.
        workers: how many share them.
        heard_until: what workers had written until then is in it, by storage's clock.
        by: who has written it.
    """

    quotas: Mapping[str, Quota] = dataclasses.field(default_factory=dict)
    workers: int = 0
    heard_until: datetime = LONG_AGO
    by: str = ""

    def to_json(self) -> bytes:
        """Return the object's content."""
        content = {
            "schema": SCHEMA,
            "workers": self.workers,
            "heard_until": self.heard_until.isoformat(),
            "by": self.by,
            "quotas": {name: dataclasses.asdict(each) for name, each in self.quotas.items()},
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Split":
        """Return what `to_json` wrote.

        Raises:
            ValueError: `content` is something else.
        """
        try:
            fields = json.loads(content)
            if fields["schema"] != SCHEMA:
                raise ValueError(f"expected the schema {SCHEMA}, got {fields['schema']!r:.50}")
            return cls(
                {str(name): _quota(each) for name, each in fields["quotas"].items()},
                int(fields["workers"]),
                datetime.fromisoformat(fields["heard_until"]).astimezone(UTC),
                str(fields["by"]),
            )
        except (LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def settle(
    before: Split, reports: Collection[Report], rates: Mapping[str, float], by: str
) -> Split:
    """Return how quotas are split from now on.

    Args:
        before: how they were split.
        reports: of all workers that are there, one each.
        rates: calls per second of the quotas that an option sets; all others are learned.
        by: who decides this.
    """
    quotas: dict[str, Quota] = {}
    for name in sorted({name for report in reports for name in report.usage}):
        usage = [report.usage[name] for report in reports if name in report.usage]
        learned = None
        if name in rates:
            per_second = rates[name]
        else:
            known = before.quotas[name].learned if name in before.quotas else None
            new = [
                report.usage[name]
                for report in reports
                if name in report.usage and report.written_at > before.heard_until
            ]
            learned = learn(known, usage, new)
            if learned is None:
                continue
            per_second = learned.per_second
        level = share(per_second, [each.wants for each in usage])
        quotas[name] = Quota(per_second, level, learned, len(usage))
    heard_until = max((report.written_at for report in reports), default=before.heard_until)
    return Split(quotas, len(reports), max(before.heard_until, heard_until), by)


def _quota(fields: Any) -> Quota:
    learned = fields["learned"]
    quota = Quota(
        float(fields["per_second"]),
        Level(**{name: float(value) for name, value in fields["level"].items()}),
        None if learned is None else Learned(**learned),
        int(fields["workers"]),
    )
    if not (quota.per_second > 0 and quota.level.most >= 0 and quota.level.spare >= 0):
        raise ValueError(f"expected rates of at least 0, got {quota}")
    return quota
