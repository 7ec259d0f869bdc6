"""What is remembered of prompts that are done."""

from beam_jobs.engine.finished import Finished


def test_the_prompts_that_were_last_asked_for_are_remembered():
    finished = Finished(2)
    finished.add("one", ["1.png"])
    finished.add("two", ["2.png"])
    assert finished.images("one") == ("1.png",)
    finished.add("three", ["3.png"])
    assert finished.images("two") is None
    assert (finished.images("one"), finished.images("three")) == (("1.png",), ("3.png",))


def test_a_stream_remembers_nothing():
    finished = Finished(0)
    finished.add("one", ["1.png"])
    assert finished.images("one") is None
