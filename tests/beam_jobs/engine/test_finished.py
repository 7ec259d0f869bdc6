"""What is remembered of prompts that are done."""

from beam_jobs.engine.finished import Finished
from beam_jobs.engine.image_set import ImageSet

ONE, TWO, THREE = (ImageSet([path], path, "m", reused=False) for path in ("1.png", "2", "3"))


def test_the_prompts_that_were_last_asked_for_are_remembered():
    finished = Finished(2)
    finished.add("one", ONE)
    finished.add("two", TWO)
    assert finished.images("one") is ONE
    finished.add("three", THREE)
    assert finished.images("two") is None
    assert (finished.images("one"), finished.images("three")) == (ONE, THREE)


def test_a_stream_remembers_nothing():
    finished = Finished(0)
    finished.add("one", ONE)
    assert finished.images("one") is None
