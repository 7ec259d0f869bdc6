"""The page's index of images: what a search finds, in which order, and how much it keeps."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.ui.image_index import ImageIndex, Spent
from imagen_ops.ui.image_query import Query
from tests.plugins.imagen_ops.ui.test_images import NOW, line


@pytest.fixture
def index() -> ImageIndex:
    return ImageIndex()


def found(index: ImageIndex, *words: str, **filters: Any) -> list[str]:
    """Return the prompt ids of all that a search finds, newest first."""
    result = index.search(Query(words=words, **filters), 100)
    assert result.after is None
    assert result.prompts == len(result.entries)
    return [str(entry["prompt_id"]) for entry in result.entries]


PROMPTS = {
    "a": "A FOX in the snow, 50% grey (f/2.8) [raw] a_b",
    "b": "苔むした石段の先にある小さな神社",
    "c": "قلعة قديمة على تل مطل على البحر",
    "d": "Straße im Regen, İstanbul",
    "e": "👩‍🚀🪐 an astronaut 🌱",
    "f": "ﬁne print Ａ１",
    "g": "half of \ud83e an emoji",
    "h": "x" * 500,
    "i": "tab\tand\nnewline",
    "j": "\x00zero",
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fox", "a"),
        ("Fox SNOW", "a"),
        ("snow fox", "a"),
        ("fox hare", ""),
        ("神社", "b"),
        ("社", "b"),
        ("البحر", "c"),
        ("STRASSE", "d"),
        ("istanbul", ""),  # İ is an i with a dot above it
        ("i\u0307stanbul", "d"),
        ("🪐", "e"),
        ("fine a1", "f"),
        ("emoji", "g"),
        ("x" * 500, "h"),
        ("x" * 501, ""),
        ("50%", "a"),
        ("5_%", ""),
        ("a_b", "a"),
        ("axb", ""),
        ("(f/2.8) [raw]", "a"),
        (".*", ""),
        ("^a", ""),
        ("' OR 1=1 --", ""),
        ('"', ""),
        ("\\", ""),
        ("newline tab", "i"),
        ("zero", "j"),
        ("", "jihgfedcba"),
    ],
)
def test_words_are_found_in_any_script_and_taken_literally(
    index: ImageIndex, words: str, expected: str
) -> None:
    index.add(
        line(n, prompt=prompt, prompt_id=name, digest="")
        for n, (name, prompt) in enumerate(PROMPTS.items())
    )
    assert "".join(found(index, *words.split())) == expected


def test_a_prompt_id_and_a_digest_are_found_too(index: ImageIndex) -> None:
    index.add([line(1), line(2, prompt_id="Order-77")])
    assert found(index, "order-77") == ["Order-77"]
    assert found(index, f"{1:032x}") == ["id-1"]


def test_each_filter_leaves_out_what_does_not_match(index: ImageIndex) -> None:
    index.add(
        [
            line(1, model="m-2", source="backfill:night-1", cost_usd=0.04),
            line(2, model="m-20", attributes={"tenant": "acme", "x": "1"}, cost_usd=0.0),
            line(3, attributes={"tenant": "acme-2"}, cost_usd=None, reused=True),
            line(4, attributes={"x": "\x1ftenant=acme\x1f"}, cost_usd=0.2),
        ]
    )
    at = NOW + timedelta(seconds=2)
    assert found(index, model="m-2") == ["id-1"]
    assert found(index, source="backfill") == ["id-1"]
    assert found(index, source="backfill:night-1") == ["id-1"]
    assert found(index, source="night") == []
    assert found(index, attribute="tenant=acme") == ["id-2"]
    assert found(index, attribute="enant=acme") == []
    assert found(index, since=at) == ["id-4", "id-3", "id-2"]
    assert found(index, until=at) == ["id-1"]
    assert found(index, min_usd=0.04) == ["id-4", "id-1"]
    assert found(index, max_usd=0.04) == ["id-2", "id-1"]
    assert found(index, "prompt", model="m-2", min_usd=0.01, source="b", until=at) == ["id-1"]


def test_what_is_read_twice_or_is_no_entry_is_not_there_twice_and_not_there(
    index: ImageIndex,
) -> None:
    old = line(1)
    for name in ("digest", "attributes", "parameters", "cost_usd"):
        del old[name]  # as older versions wrote them
    records = [old, {}, {"images": ["x"]}, {"at": "no time", "images": ["x"]}, line(2, images=0)]
    assert index.add([*records, {**line(3), "prompt": 7, "attributes": [], "cost_usd": "x"}]) == 2
    assert index.add([old]) == 0
    assert found(index) == ["id-3", "id-1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_have_each_prompt_once_also_those_of_one_moment(
    index: ImageIndex, limit: int
) -> None:
    moments = itertools.cycle([0, 0, 0, 1, 1, 2])
    at = [(NOW + timedelta(seconds=next(moments))).isoformat() for _ in range(20)]
    index.add(line(n, images=1 + n % 4, at=at[n]) for n in range(20))
    seen, start = [], None
    while True:
        page = index.search(Query(), limit, start)
        assert (page.prompts, page.images) == (20, 50)
        seen += page.entries
        start = page.after
        if start is None:
            break
        # What arrives meanwhile shifts nothing.
        index.add([line(99, at=(NOW + timedelta(days=len(seen))).isoformat(), images=0)])
    assert len({entry["prompt_id"] for entry in seen}) == len(seen) == 20
    assert [entry["at"] for entry in seen] == sorted(at, reverse=True)
    assert all(len(entry["images"]) == 1 + int(entry["prompt_id"][3:]) % 4 for entry in seen)


def test_beyond_the_maximum_the_oldest_are_dropped() -> None:
    index = ImageIndex(max_prompts=3)
    index.add(line(n) for n in range(3))
    assert not index.drop_oldest()
    index.add(line(n) for n in range(3, 6))
    assert index.drop_oldest()
    assert found(index) == ["id-5", "id-4", "id-3"]
    assert index.extent() == (3, NOW + timedelta(seconds=3))
    assert index._all("SELECT count(*) FROM entries") == [(3,)]


def test_costs_are_added_up_by_model_and_source_and_an_unknown_one_is_counted(
    index: ImageIndex,
) -> None:
    index.add(
        [
            line(0, cost_usd=100.0),
            line(1, cost_usd=0.5, images=2),
            line(2, cost_usd=None),
            line(3, cost_usd=0.0, reused=True, images=4),
            line(4, cost_usd=0.25, source="backfill:a"),
            line(5, cost_usd=0.25, source="backfill:b", model="m-2"),
        ]
    )
    assert index.spent(NOW + timedelta(seconds=1)) == [
        Spent("m", "stream", prompts=3, reused=1, images=3, usd=0.5, unknown=1),
        Spent("m", "backfill", prompts=1, reused=0, images=1, usd=0.25, unknown=0),
        Spent("m-2", "backfill", prompts=1, reused=0, images=1, usd=0.25, unknown=0),
    ]
    assert index.choices() == {"models": ["m", "m-2"], "sources": ["backfill", "stream"]}
    assert index.spent(datetime(2100, 1, 1, tzinfo=UTC)) == []
