"""The figures of a run, computed from made-up processes and counts."""

import contextlib
import dataclasses
import time
from pathlib import Path

import pytest

from bench import runs


@dataclasses.dataclass
class Play:
    """A process and what the models have counted at each look at it: images, refusals."""

    folder: Path
    looks: list[tuple[int, int]]
    writes: int = 0
    most_sockets: int = 0
    log: Path = Path("log")
    started: float = dataclasses.field(default_factory=time.monotonic)
    rows: list = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._see(self.looks.pop(0))

    def _see(self, look: tuple[int, int]) -> None:
        images, refused = look
        counts = {"calls": images + refused, "images": images, "refused_for_quota": refused}
        counts["in_flight"] = images % 10
        self.rows.append((self.started + len(self.rows), counts))

    @property
    def running(self) -> bool:
        if self.looks:
            self._see(self.looks.pop(0))
            return True
        for number in range(self.writes):
            (self.folder / "contender" / f"{number}.png").touch()
        return False

    @property
    def last(self) -> dict:
        return self.rows[-1][1]

    def first_call(self) -> float:
        return self.started

    def cpu_s(self) -> float:
        return 0.0

    peak_mb = cpu_s

    def wait(self) -> None:
        while self.running:
            pass

    drain = kill = wait

    def __enter__(self) -> "Play":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclasses.dataclass
class Stage:
    folder: Path
    environment: dict = dataclasses.field(default_factory=dict)

    def cpu_s(self) -> float:
        return 0.0


class Came:
    """What has come back when it is asked for."""

    def __init__(self, *messages: dict) -> None:
        self._messages = list(messages)
        self.arrived: list = []

    def wait(self, *_: object) -> None:
        self.arrived = list(enumerate(self._messages))

    def times(self, since: int) -> list[float]:
        return [float(at) for at, _ in self.arrived[since:]]

    def failures(self) -> list[dict]:
        return [message for _, message in self.arrived if "reason" in message]

    def close(self) -> None:
        pass


def put_on(monkeypatch, play: Play) -> Stage:
    monkeypatch.setattr(runs, "Process", lambda *_, **__: play)
    monkeypatch.setattr(runs, "Samples", lambda *_: play)
    return Stage(play.folder)


def test_images_that_a_contender_pays_for_to_its_end_are_counted_and_take_their_time(
    tmp_path, monkeypatch
):
    play = Play(tmp_path, [(1, 0), (4, 0), (4, 1), (6, 2), (6, 2)], writes=4)
    found = runs.contender(put_on(monkeypatch, play), "one_by_one", 4, 2)
    assert (found.paid_twice, found.refused) == (2, 2)
    assert found.seconds == 3.0, "until the sixth image, not the fourth"


@pytest.mark.parametrize("written", [3, 5])
def test_a_contender_that_did_not_write_one_image_per_prompt_has_no_figures(
    tmp_path, monkeypatch, written
):
    play = Play(tmp_path, [(1, 0), (6, 0)], writes=written)
    with pytest.raises(RuntimeError, match=f"wrote {written} of 4 images"):
        runs.contender(put_on(monkeypatch, play), "one_by_one", 4, 2)


FAILURE = {"prompt_id": "b", "reason": "NO_IMAGE", "detail": "nothing came"}


@pytest.fixture
def came(tmp_path, monkeypatch):
    """A run of ours, of which these messages come back."""

    def run(kind: str, *messages: dict) -> runs.Run:
        cloud = put_on(monkeypatch, Play(tmp_path, [(0, 0), (2, 0), (3, 0)]))
        receiver = Came(*messages)
        monkeypatch.setattr(runs, "Receiver", lambda: receiver)
        monkeypatch.setattr(runs, "put_files", lambda *_: None)
        monkeypatch.setattr(runs, "publish", lambda *_: None)
        process = runs.Process()
        monkeypatch.setattr(
            runs, "streaming", lambda *_: contextlib.nullcontext((process, receiver))
        )
        report = '{"prompts": 2, "predictions": 1, "failures": 1}'
        (tmp_path / "report.json").write_text(report)
        return {"backfill": runs.backfill, "stream": runs.stream}[kind](cloud, 2, 2)

    return run


@pytest.mark.parametrize("kind", ["backfill", "stream"])
def test_a_run_with_a_failed_prompt_has_no_figures(came, kind):
    with pytest.raises(
        RuntimeError, match="1 prompts failed, the first with NO_IMAGE: nothing came"
    ):
        came(kind, {"prompt_id": "a"}, FAILURE)


def test_a_backfill_whose_report_has_failures_has_no_figures(came):
    with pytest.raises(RuntimeError, match="expected 2 predictions, but the report says"):
        came("backfill", {"prompt_id": "a"}, {"prompt_id": "b"})


def test_figures_of_the_middle_leave_out_the_first_and_the_last_tenth(tmp_path, monkeypatch):
    # Of 100: four seconds from 12 to 88, whatever was before and after; a look each second.
    looks = [(n, 0) for n in (0, 5, 12, 30, 50, 70, 88, 99, 99, 100)]
    play = Play(tmp_path, looks, writes=100)
    found = runs.contender(put_on(monkeypatch, play), "one_by_one", 100, 2)
    assert found.middle_per_s == (88 - 12) / 4
    assert found.middle_in_flight == (2 + 0 + 0 + 0 + 8) / 5


def test_a_run_that_was_answered_between_two_samples_has_no_figures_of_the_middle(
    tmp_path, monkeypatch
):
    play = Play(tmp_path, [(0, 0), (100, 0)], writes=100)
    found = runs.contender(put_on(monkeypatch, play), "one_by_one", 100, 2)
    assert (found.middle_per_s, found.middle_in_flight) == (None, None)


def test_what_a_stream_pays_for_while_it_is_drained_is_counted(came):
    assert came("stream", {"prompt_id": "a"}, {"prompt_id": "b"}).paid_twice == 1
