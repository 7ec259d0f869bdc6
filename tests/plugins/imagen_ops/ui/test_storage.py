"""How the page's storage reads many objects."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from imagen_ops.ui.storage import Deadline, Storage
from tests.conftest import PATIENCE_S
from tests.plugins.imagen_ops.ui.conftest import Stored

_counting = threading.Lock()
_parsing = 0
_most = 0
_two = threading.Barrier(2)


def in_pairs(records: Iterator[dict[str, Any]]) -> int:
    """Count a file's records, and how many files are parsed at the same time."""
    global _parsing, _most
    with _counting:
        _parsing += 1
        _most = max(_most, _parsing)
    try:
        count = sum(1 for _ in records)
        # Goes on only when another file is being parsed too.
        _two.wait(PATIENCE_S)
        return count
    finally:
        with _counting:
            _parsing -= 1


@pytest.mark.usefixtures("stored")
def test_two_files_are_parsed_at_a_time_however_many_threads_read(stored: Stored) -> None:
    for n in range(16):
        stored.put(f"records/things/{n:02d}.jsonl", [{"n": n}] * (n + 1))
    storages = [Storage(), Storage().apart(reads=1, cached_characters=1_000)]
    objects, _ = storages[0].list_objects("records/things/", 16, Deadline(PATIENCE_S))

    def read(storage: Storage) -> None:
        counts.append(storage.read(objects, in_pairs, Deadline(PATIENCE_S)))

    counts: list[list[int]] = []
    threads = [threading.Thread(target=read, args=(each,)) for each in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert counts == [list(range(1, 17))] * 2
    assert _most == 2
