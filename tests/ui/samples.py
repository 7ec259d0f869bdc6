"""Answers of the page's panels, for tests of the page alone: an eventful day."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

# In winter, when Berlin is one hour ahead of UTC.
NOW = datetime(2026, 11, 20, 14, 5, tzinfo=UTC)
PANELS = ("stream", "actions", "plots", "images", "money", "backfills", "dead-letters", "done")
JOB = "2026-11-19_21_14_02-8021478523014"
NO_PROMPT = "The image of this prompt is gone"

PROMPTS = (
    "A lighthouse on a cliff at dawn, watercolor, long shadows, gulls over the breakers",
    "A fox in the snow",
    "苔むした石段の先にある小さな神社、朝霧、水彩",
    "قلعة قديمة على تل مطل على البحر عند الغروب، ألوان مائية، تفاصيل دقيقة",
    "👩‍🚀🪐 An astronaut tends a greenhouse on a ringed moon 🌱✨",
    "Isometric cutaway of a clockwork bakery, brass ovens, flour in the light",
    "Портрет старого рыбака, масло, тёплый свет",
    "A paper boat in a storm drain, macro photograph, shallow depth of field",
)
HOSTILE = (
    '<img src=x onerror="window.pwned = 1">',
    "<script>window.pwned = 2</script><b>bold</b>",
    '"><svg onload="window.pwned = 3"></svg>',
    "javascript:window.pwned=4",
    "{{7*7}} ${7*7} <%= 7*7 %> &lt;b&gt; &amp;",
    "</title></style></script></textarea><iframe src=//evil.example>",
    "\u202eright to left override\u202c and \u0000 \ufffd\u200b zero width",
    "a" * 8000,
    "no spaces " + "長い" * 2000,
)


def iso(**before: float) -> str:
    """Return a time before NOW in ISO 8601, as the server writes it."""
    return (NOW - timedelta(**before)).isoformat()


def job(state: str = "RUNNING", **before: float) -> dict[str, Any]:
    return {
        "id": JOB,
        "state": state,
        "since": iso(**before or {"hours": 16, "minutes": 51}),
        "url": f"https://console.cloud.google.com/dataflow/jobs/us-central1/{JOB}",
    }


def stream(status: str = "DEGRADED", **fields: Any) -> dict[str, Any]:
    reasons = {
        "HEALTHY": [
            (
                "RUNNING",
                "HEALTHY",
                f"Job {JOB} has been RUNNING for 16 h 51 min: system lag 4 s; backlog 3 messages.",
            )
        ],
        "DEGRADED": [
            (
                "FAILURE_RATIO",
                "DEGRADED",
                "45 of the last 412 prompts failed (10.9%, the limit is 10%): "
                "UNAVAILABLE 31, BLOCKED 9, INVALID_PROMPT 5. Read the dead letters; what is "
                "retryable goes back with imagen_dead_letters_replay once the cause is gone.",
            ),
            (
                "SYSTEM_LAG",
                "DEGRADED",
                "System lag is 4 min 10 s, the limit is 3 min: a prompt has been in progress for "
                "so long. Look at the model's latency and at retries in the job's log.",
            ),
        ],
        "DOWN": [
            (
                "NO_JOB",
                "DOWN",
                "No job is active, and the stream should be running. It will be restarted; if that "
                "does not last, read the last job's log.",
            )
        ],
    }[status]
    return {
        "word": status,
        "checked": True,
        "wanted": True,
        "asked": {
            "at": iso(hours=17),
            "by": "ada",
            "url": "dags/imagen_stream_start/runs/manual__1",
        },
        "job": None if status == "DOWN" else job(),
        "last_job": job("FAILED", minutes=6) if status == "DOWN" else None,
        "start": None,
        "form": {"model": "gemini-3.1-flash-image", "max_workers": 2},
        "waiting": {},
        "check": {
            "at": iso(minutes=2, seconds=10),
            "stale": False,
            "status": status,
            "reasons": [{"code": c, "status": s, "text": t} for c, s, t in reasons],
            "readings": {
                "system_lag": 250.4,
                "watermark_age": 264.0,
                "backlog_age": 96.2,
                "backlog_size": 1843.0,
            },
            "limits": {"system_lag": 180, "watermark_age": 600, "backlog_age": 600},
            "canary_seconds": 6.4,
        },
        "cost": {
            "hour": {"usd": 41.2, "unpriced_calls": 0},
            "day": {"usd": 1_204.5, "unpriced_calls": 2},
        },
        "totals": {
            "prompts": 48_211,
            "predictions": 46_902,
            "reused": 3_020,
            "failures": 1_306,
            "images": 61_877,
            "bytes": 92_815_500_000,
            "model_calls": 59_210,
            "quota_refusals": 2_114,
        },
        **fields,
    }


def points() -> list[dict[str, Any]]:
    """A health check every five minutes except two hours at night, and many failures at noon."""
    checks = []
    for index in range(288):
        minutes = (287 - index) * 5 + 2
        hour = 24 - minutes / 60
        if 7.0 < hour < 9.0:
            continue
        busy = 1 + math.sin((hour - 8) / 24 * 2 * math.pi) * 0.7
        storm = max(0.0, 1 - abs(hour - 23.1) / 1.6)
        first = 9.0 <= hour < 9.08
        wave = 0.5 + 0.5 * math.sin(index * 1.7) * math.cos(index * 0.61)
        failures: dict[str, float] = {"INVALID_PROMPT": round(0.2 * wave, 2)}
        if index % 5 == 0:
            failures["BLOCKED"] = round(0.8 * busy, 2)
        if storm:
            failures["UNAVAILABLE"] = round(8 * storm, 2)
            failures["MODEL_ERROR"] = round(2.5 * storm * wave, 2)
        checks.append(
            {
                "at": iso(minutes=minutes),
                "status": "DOWN"
                if storm > 0.85
                else "DEGRADED"
                if storm > 0.2 or 15.1 < hour < 15.4
                else "HEALTHY",
                "backlog_age": round(8 + 12 * wave * busy + 1900 * storm**2, 1),
                "backlog_size": round(30 * busy * wave + 5200 * storm**2),
                "watermark_age": round(20 + 15 * wave + 900 * storm**2, 1),
                "system_lag": None if 3 < hour < 4 else round(6 + 9 * wave + 240 * storm, 1),
                "prompts_per_minute": None if first else round(70 * busy * (1 - 0.8 * storm), 1),
                "images_per_minute": None if first else round(92 * busy * (1 - 0.9 * storm), 1),
                "failures_per_minute": None if first else failures,
                "quota_refusals_per_minute": None if first else round(14 * storm * wave, 2),
            }
        )
    return checks


def images(count: int = 48, *, first: int = 0, prompts: tuple[str, ...] = PROMPTS) -> list[Any]:
    """Images, newest first, starting at number `first`. Each has a prompt id of its own."""
    models = ("gemini-3.1-flash-image", "gemini-3-pro-image", "imagen-4.0-fast-generate-001")
    return [
        {
            "url": f"images/{number % 256:02x}/{number:032x}-0.png",
            "path": f"gs://demo-project-imagen/images/{number % 256:02x}/{number:032x}-0.png",
            "prompt": prompts[number % len(prompts)],
            "prompt_id": f"order-{number}",
            "model": models[number % 5 % 3],
            "source": "stream" if number % 3 else "backfill:scheduled__2026-11-19",
            "reused": number % 11 == 7,
            "at": iso(seconds=20 + number * 95),
            "latency_ms": 8_400 + 37 * number,
            "parameters": {"aspect_ratio": "16:9", "seed": 0},
            "job_options": {},
        }
        for number in range(first, first + count)
    ]


def backfill(day: str | None = "2026-11-19", **fields: Any) -> dict[str, Any]:
    return {
        "run_id": f"scheduled__{day}T00:00:00+00:00"
        if day
        else "manual__2026-11-20T09:12:44+00:00",
        "at": iso(hours=13, minutes=20),
        "day": day,
        "prompts": f"gs://demo-project-imagen/prompts/ds={day}/*",
        "adds_up": True,
        "planned": {"prompts": 12_480, "invalid": 20, "images": 16_100, "images_to_pay": 15_222},
        "counts": {
            "prompts": 12_500,
            "predictions": 12_391,
            "reused": 845,
            "failures": 109,
            "images": 15_120,
            "model_calls": 15_310,
        },
        "estimated_usd": 1022.92,
        "cost_usd": 1016.06,
        "unpriced_calls": 0,
        "unaccounted": [],
        "noted": [],
        "url": "dags/imagen_backfill/runs/scheduled__2026-11-19T00:00:00+00:00",
        **fields,
    }


def backfills() -> list[dict[str, Any]]:
    lost = "12,500 prompts came in and 12,460 ended (12,351 predictions, 109 failures)"
    return [
        backfill(),
        backfill(
            None,
            at=iso(hours=5),
            prompts="gs://demo-project-imagen/prompts/catalogue/autumn-*.jsonl.gz",
            planned={"prompts": 14, "invalid": 0, "images_to_pay": 14},
            counts={"predictions": 14, "reused": 0, "failures": 0, "images": 14},
            estimated_usd=0.94,
            cost_usd=0.93,
        ),
        backfill("2026-11-18", at=iso(hours=37), adds_up=False, unaccounted=[lost]),
        backfill(
            "2026-11-17",
            at=iso(hours=61),
            noted=["12,500 rows were planned and 12,498 were read: files have changed since"],
        ),
        backfill(
            "2026-11-16",
            at=iso(hours=85),
            adds_up=None,
            counts={},
            planned={"prompts": 0, "invalid": 0, "images_to_pay": 0},
            estimated_usd=0.0,
            cost_usd=0.0,
        ),
    ]


REASONS = {
    "UNAVAILABLE": (1_031, "429 RESOURCE_EXHAUSTED for 600 s, 14 attempts", True),
    "BLOCKED": (212, "finish_reason IMAGE_SAFETY", False),
    "INVALID_PROMPT": (58, "field images: expected 1 to 4, got 12", False),
    "MODEL_ERROR": (5, "400 INVALID_ARGUMENT: aspect_ratio 17:9 is not supported", False),
}


def letters(prompts: tuple[str, ...] = PROMPTS) -> list[dict[str, Any]]:
    """Dead letters, newest first, three of each reason."""
    return [
        {
            "prompt_id": f"{reason.lower()}-{index}",
            "prompt": prompts[(index + len(reason)) % len(prompts)],
            "reason": reason,
            "detail": detail,
            "retryable": retryable,
            "at": iso(minutes=7 + 31 * index),
            "source": "stream",
        }
        for index in range(3)
        for reason, (_, detail, retryable) in REASONS.items()
    ]


def done() -> list[dict[str, Any]]:
    """What was done, newest first."""

    def run(what: str, by: str | None, hours: float, **fields: Any) -> dict[str, Any]:
        url = f"dags/imagen_{what}/runs/manual__{hours}"
        facts = {"job": None, "result": "done", "form": {}, **fields}
        return {
            "what": what,
            "run_id": f"manual__{hours}",
            "at": iso(hours=hours),
            "by": by,
            "url": url,
            **facts,
        }

    form = {"on_active": "update", "model": "gemini-3-pro-image", "max_workers": 4}
    form |= {"request_tier": "flex", "max_in_flight": 64}
    some = {"dry_run": False, "reasons": ["UNAVAILABLE"], "prompt_ids": []}
    return [
        run("replay", "grace", 2.4, form=some),
        run("backfill", None, 14, form={"max_images": 20_000}, result="failed"),
        run("start", "ada", 17, form=form, job=JOB),
        run("restart", None, 30, job=JOB, result="launched"),
        run("drain", "ada@example.com", 40, form={"cancel_after_minutes": 0}, result="under way"),
    ]


def dead_letters() -> dict[str, Any]:
    return {
        "waiting": {"count": 1_306, "at": iso(minutes=2, seconds=10)},
        "hours": 24,
        "archive": "https://console.cloud.google.com/storage/browser/demo-project-imagen/dead-letters",
        "by_reason": [
            {"reason": reason, "count": count, "retryable": count if retryable else 0}
            for reason, (count, _, retryable) in REASONS.items()
        ],
        "replays": [
            {
                "run_id": "manual__2026-11-20T11:40:03+00:00",
                "at": iso(hours=2, minutes=24),
                "dry_run": False,
                "finished": True,
                "replayed": {"UNAVAILABLE": 640, "NO_IMAGE": 12},
                "archived": {"BLOCKED": 180},
                "left": {},
                "unreadable": 1,
            },
            {
                "run_id": "manual__2026-11-20T11:32:50+00:00",
                "at": iso(hours=2, minutes=32),
                "dry_run": True,
                "finished": True,
                "replayed": {"UNAVAILABLE": 640},
                "archived": {},
                "left": {"MODEL_ERROR": 5},
                "unreadable": 0,
            },
        ],
    }


def money(*, nothing: bool = False) -> dict[str, Any]:
    """What images cost, on the evening of a day; or before anything was paid for."""

    def row(model: str, source: str, share: float, **fields: Any) -> dict[str, Any]:
        return {
            "model": model,
            "source": source,
            "prompts": round(4_000 * share),
            "reused": round(300 * share),
            "images": round(5_100 * share),
            "usd": 310.5 * share,
            "unknown": 0,
            **fields,
        }

    def period(since: datetime, share: float) -> dict[str, Any]:
        pro, flash = "gemini-3-pro-image", "gemini-3.1-flash-image"
        return {
            "since": since.isoformat(),
            "stream": {"usd": 310.25 * share, "unpriced_calls": round(2 * share)},
            "backfills": {
                "runs": round(share),
                "usd": 1_016.06 * share,
                "estimated_usd": 1_022.92 * share,
                "unknown": 0,
                "not_estimated": 0,
            },
            "by": [
                row(flash, "backfill", 3 * share),
                row(pro, "stream", share),
                row("imagen-4.0-fast-generate-001", "stream", share, usd=0.0, unknown=4_000),
            ],
        }

    def none(since: datetime) -> dict[str, Any]:
        runs = {"runs": 0, "usd": 0, "estimated_usd": 0, "unknown": 0, "not_estimated": 0}
        return {
            "since": since.isoformat(),
            "stream": {"usd": None, "unpriced_calls": None},
            "backfills": runs,
            "by": [],
        }

    today = NOW.replace(hour=0, minute=0)
    month = today.replace(day=1)
    budget = {"leased": 0, "spent": 0, "unreadable": False}
    return {
        "day": none(today) if nothing else period(today, 1),
        "month": none(month) if nothing else period(month, 17),
        "indexed": {
            "since": None if nothing else iso(days=40),
            "complete": True,
            "error": None,
        },
        "budgets": [
            {**budget, "period": "hour", "images": None, "left": None, "renewed_at": iso(hours=-1)},
            {
                **budget,
                "period": "day",
                "images": 20_000,
                "left": 14_820,
                "leased": 64,
                "spent": 5_116,
                "renewed_at": iso(hours=-10),
            },
        ],
    }


def actions(*, allowed: bool = True, user: str = "ops@example.com") -> dict[str, Any]:
    dags = {
        "imagen_stream_health": (
            "Check now",
            "Runs a health check of the stream: sends a canary, and restarts a stream that died. "
            "Has no form.",
        ),
        "imagen_stream_start": (
            "Start or change the stream",
            "Launches the streaming job, or updates or replaces the one that is running.",
        ),
        "imagen_stream_drain": (
            "Drain the stream",
            "Takes no new prompts and finishes those in progress. New prompts wait until the next "
            "start.",
        ),
        "imagen_backfill": (
            "Run a backfill",
            "Generates the images for a day's prompt files, or for any other files, within a "
            "budget.",
        ),
        "imagen_dead_letters_replay": (
            "Replay dead letters",
            "Sends retryable dead letters back as prompts, and archives those that can't be "
            "replayed.",
        ),
    }
    return {
        "user": user,
        "dags": [
            {
                "dag_id": dag,
                "label": label,
                "description": description,
                "url": f"dags/{dag}",
                "allowed": allowed,
            }
            for dag, (label, description) in dags.items()
        ],
    }
