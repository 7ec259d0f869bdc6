"""The memory settings of the process."""

import gc

import pytest

from beam_jobs.engine.process_memory import freeze_imported_objects


@pytest.mark.slow
def test_existing_objects_are_exempt_from_garbage_collection():
    gc.unfreeze()  # what the tests' own start has exempted
    freeze_imported_objects()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < gc.get_freeze_count()
