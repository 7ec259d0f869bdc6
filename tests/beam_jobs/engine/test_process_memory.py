"""What the process asks of its memory."""

import gc

from beam_jobs.engine.process_memory import freeze_what_is_there


def test_what_lives_as_long_as_the_process_is_not_looked_at_again():
    freeze_what_is_there()
    try:
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()
