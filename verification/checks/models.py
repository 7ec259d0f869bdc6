"""The models: which are there, what an answer costs, and how calls over the quota are refused."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions as api_exceptions

from beam_jobs.catalog import CATALOG, GLOBAL, Family
from beam_jobs.models.bill import bill_of, is_version_of, row_of
from verification.access import NotAskedError
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.visit import Visit

# A model that thinks may take minutes.
_CALL_S = 180.0
# More than one worker has in flight, and still far below a cent.
_BURST = 60
# A word costs a hundredth of this.
_DEAR_USD = 0.005
_SIZE = "1K"


def _path(visit: Visit, model: str, method: str) -> str:
    project = visit.deployment.project
    return f"/v1/projects/{project}/locations/{GLOBAL}/publishers/google/models/{model}:{method}"


def _contents(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"text": text}]}]


def _catalog(visit: Visit) -> Seen:
    """Ask each model as workers do, by a method that is free."""
    today = datetime.now(UTC).date()
    answers: dict[str, str] = {}
    wrong = []
    for name, row in CATALOG.items():
        if row.protocol is not Family.GEMINI:
            continue
        try:
            visit.access.call(
                "vertex",
                "POST",
                _path(visit, name, "countTokens"),
                account="worker",
                json={"contents": _contents("a fox")},
            )
            answers[name] = "answers"
        except api_exceptions.GoogleAPICallError as error:
            answers[name] = f"HTTP {error.code}"
            end = row.end_on()
            if end is None or end.on > today:
                wrong.append(f"{name}: HTTP {error.code}")
    if wrong:
        raise DiffersError(", ".join(wrong))
    return Seen(", ".join(f"{name} {what}" for name, what in answers.items()), facts=answers)


def _costs(visit: Visit) -> Seen:
    """Make one call as a worker does, and compare what it states with the catalog."""
    model = visit.deployment.model
    answer = visit.access.call(
        "vertex",
        "POST",
        _path(visit, model, "generateContent"),
        account="worker",
        timeout_s=_CALL_S,
        json={
            "contents": _contents(f"A fox in the snow ({visit.mark})"),
            "generationConfig": {
                "responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": "1:1", "imageSize": _SIZE},
            },
        },
    )
    bill, row = bill_of(answer, model), CATALOG.get(model)
    usage = answer.get("usageMetadata") or {}
    if bill.usd is None:
        raise DiffersError(f"the cost of this is unknown: usageMetadata {usage}")
    problems = []
    parts = [
        part
        for candidate in answer.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]
    images = [part for part in parts if "inlineData" in part and not part.get("thought")]
    if not images:
        reasons = [each.get("finishReason") for each in answer.get("candidates", [])]
        problems.append(f"no image, but {reasons}")
    if not is_version_of(bill.model_version, model):
        problems.append(f"{bill.model_version or 'a model without a name'} answered")
    expected = row.image_tokens[_SIZE] if row else None
    if images and expected is not None and bill.image_tokens != expected:
        problems.append(f"{bill.image_tokens} tokens for an image of {_SIZE}, not {expected}")
    if row_of(bill.model_version or model) is None:
        problems.append("the catalog has no row for it")
    if not usage.get("trafficType"):
        problems.append("it names no trafficType")
    if problems:
        raise DiffersError("; ".join(problems), usd=bill.usd)
    return Seen(
        f"{bill.usd:.4f} USD for {bill.input_tokens} + {bill.text_tokens} + {bill.image_tokens} "
        f"tokens, {usage.get('trafficType')}, by {bill.model_version}",
        usd=bill.usd,
        facts={"usageMetadata": usage, "modelVersion": bill.model_version},
    )


def _quota(visit: Visit) -> Seen:
    """Make many calls at once, each of one word, and look at those that are refused."""
    url = f"{visit.access.url('vertex')}{_path(visit, visit.deployment.model, 'generateContent')}"
    body = {
        "contents": _contents(f"Say yes ({visit.mark})"),
        "generationConfig": {"responseModalities": ["TEXT"], "maxOutputTokens": 1},
    }

    def call(_: int = 0) -> tuple[int, str, str, float]:
        with visit.access.session("worker") as own:
            answer = own.post(url, json=body, timeout=_CALL_S)
        content = answer.json() if answer.content else {}
        word = str(content.get("error", {}).get("status", ""))
        usd = bill_of(content, visit.deployment.model).usd if answer.ok else 0.0
        return answer.status_code, word, answer.headers.get("retry-after", ""), usd or 0.0

    # Alone: it fetches the token, and shows what the others will cost.
    first = call()
    if first[0] == 400 or first[3] > _DEAR_USD:
        why = "is refused with 400" if first[0] == 400 else f"costs {first[3]:.4f} USD"
        raise NotAskedError(f"a call for a word {why}, so {_BURST} of them are not made")
    with ThreadPoolExecutor(_BURST) as threads:
        answers = [first, *threads.map(call, range(_BURST - 1))]
    usd = sum(each[3] for each in answers)
    counts = Counter(status for status, *_ in answers)
    text = ", ".join(f"{count} × HTTP {status}" for status, count in sorted(counts.items()))
    words = {word for status, word, *_ in answers if status == 429}
    if others := counts.keys() - {200, 429}:
        raise DiffersError(f"{text}; expected no {', '.join(map(str, sorted(others)))}", usd=usd)
    if words - {"RESOURCE_EXHAUSTED"}:
        raise DiffersError(f"{text}, as {', '.join(sorted(words))}", usd=usd)
    waits = sorted({wait for status, _, wait, _ in answers if status == 429})
    said = f"; Retry-After: {', '.join(waits) or 'none'}" if words else "; the quota is larger"
    return Seen(text + said, usd=usd, facts={"statuses": {str(k): v for k, v in counts.items()}})


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield them."""
    row = CATALOG.get(deployment.model)
    image_usd = (row.usd_per_image(_SIZE) if row else None) or 0.25
    call_usd = 20 / 1e6 * row.usd_per_million_tokens.text_output if row else 0.001
    yield Check(
        name="models",
        believed="Each model of the catalog is there until it ends, for workers, at `global`.",
        where="beam_jobs/catalog.json",
        expected="each one that has not ended counts tokens",
        ask=_catalog,
        needs=("act as worker",),
    )
    yield Check(
        name="costs",
        believed="An answer's usageMetadata says what it costs, as the catalog expects.",
        where="beam_jobs/models/bill.py",
        expected="an image, the catalog's tokens, a traffic type, and a known price",
        ask=_costs,
        needs=("act as worker",),
        usd=2 * image_usd,
        limit_s=200.0,
    )
    yield Check(
        name="quota",
        believed="Calls over the quota answer 429 RESOURCE_EXHAUSTED, and nothing else does.",
        where="beam_jobs/engine/quota.py",
        expected="200, or 429 with RESOURCE_EXHAUSTED",
        ask=_quota,
        needs=("act as worker",),
        usd=_BURST * call_usd,
        limit_s=200.0,
    )
