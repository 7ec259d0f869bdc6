import json

import pytest

from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.parts import Part, PartsError, Prepared

PART = Part(
    folder=PrefetchFolder.of("b", "run").part("0a", 0),
    model="gemini-nano-banana-2.1",
    location="global",
    rows=6,
    bytes=1234,
    prompts=3,
    likely_micro_usd=100_800,
)
PREPARED = Prepared("backfill:run", (PART, PART), {"stored": 4})


def test_what_was_prepared_comes_back_as_it_was_written():
    assert Prepared.parse(json.dumps(PREPARED.to_json()).encode()) == PREPARED
    assert PART.name == "part-00000"
    assert (PREPARED.images, PREPARED.prompts, PREPARED.likely_micro_usd) == (12, 6, 201_600)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected JSON"),
        (b"[]", "expected what a prefetch has prepared"),
        (b'{"schema": "imagen.plan/1"}', "schema: expected imagen.prefetch_parts/1"),
        (json.dumps({**PREPARED.to_json(), "parts": [{}]}).encode(), "'folder'"),
    ],
)
def test_what_was_not_prepared_is_refused(content, problem):
    with pytest.raises(PartsError, match=problem):
        Prepared.parse(content)
