"""The row of an image is found among many, in little memory, whatever is looked for."""

import tracemalloc

import pytest

from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.manifest_index import ManifestIndex, Manifests, manifest_lines
from tests.beam_jobs.prefetch.outputs import requests_of


@pytest.fixture
def rows(prompt_of):
    return [row for _, row in requests_of(prompt_of("A fox", images=4, origin="f:1"))]


def test_a_row_is_found_by_its_image_and_others_are_not(tmp_path, rows):
    index = ManifestIndex((row.to_line() for row in rows), tmp_path / "index")
    assert [index.find(row.image) for row in rows] == rows
    for other in ("", "x", f"{'0' * 32}-0", rows[0].image.upper(), "\ud800", "a\x00b", "x" * 9999):
        assert index.find(other) is None


def test_a_line_that_is_none_of_a_manifest_costs_that_row_alone(tmp_path, rows):
    lines = [b"{broken\n", rows[0].to_line(), b"\xff\n", b"\n", rows[1].to_line()[:50]]
    index = ManifestIndex(lines, tmp_path / "index")
    assert index.find(rows[0].image) == rows[0]
    assert index.find(rows[1].image) is None


def test_many_rows_take_no_memory_to_speak_of(tmp_path, rows):
    line = rows[0].to_line()
    image = rows[0].image.encode()

    def lines():
        for number in range(5_000):
            yield line.replace(image, b"%032x-0" % number)

    tracemalloc.start()
    index = ManifestIndex(lines(), tmp_path / "index")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20
    found = index.find(f"{4_321:032x}-0")
    assert found is not None
    assert found.index == 0


def test_a_manifest_is_read_once_in_a_process(rows):
    asked = []

    def lines(url):
        asked.append(url)
        return [rows[int(url)].to_line()]

    manifests = Manifests(lines)
    for _ in range(2):
        for number, row in enumerate(rows):
            assert manifests.index(str(number)).find(row.image) == row
            assert manifests.index(str(number)).find(rows[number - 1].image) is None
    assert asked == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_a_manifest_is_read_from_storage(lane, cloud, rows):
    url = lane.put("manifest.jsonl", b"".join(row.to_line() for row in rows))
    assert [ManifestRow.parse(line) for line in manifest_lines(url)] == rows
