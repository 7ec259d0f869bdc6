"""The README: short, and what it shows can be done."""

import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.outcomes import Prediction, encode
from tests.docs.markdown import ROOT, blocks, names_in_first_cells, section, targets, text_of

README = ROOT / "README.md"
TEXT = text_of(README)
MAX_WORDS = 1200
# What a command line may begin with, besides `make` and our own scripts.
_PROGRAMS = {"export", "source", "eval", "gcloud", "terraform", ".venv/bin/python"}


def commands(text: str) -> list[str]:
    """Return the command lines of the console blocks, without comments and prompts."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line[2:]) for line in lines if line.startswith("$ ")]


def test_it_is_short_enough_to_be_read() -> None:
    assert len(TEXT.split()) <= MAX_WORDS


def test_the_first_screen_has_both_pictures_and_both_commands() -> None:
    first = "\n".join(TEXT.splitlines()[:25])
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", first)
    assert pictures == ["docs/page.png", "docs/contact-sheet.png"]
    assert all((ROOT / picture).is_file() for picture in pictures)
    assert commands(first) == ["make demo", "make test"]


def test_every_command_is_there() -> None:
    found = commands(TEXT)
    assert len(found) > 10
    for command in found:
        for part in command.split(" && "):
            program, *arguments = shlex.split(part)
            if program == "make":
                assert arguments[0] in targets(), command
            elif program.startswith("scripts/"):
                assert os.access(ROOT / program, os.X_OK), command
            else:
                assert program in _PROGRAMS, command


def test_the_shortest_deployment_is_that_of_the_page_about_it() -> None:
    shortest = commands(section(TEXT, "Deploy it"))
    assert len(shortest) == 8
    page = text_of(ROOT / "docs" / "deploying.md")
    assert commands(section(page, "From an empty project to the first image")) == shortest


def test_every_folder_of_the_repository_has_a_row() -> None:
    named = {
        name.split("/")[0]
        for name in names_in_first_cells(section(TEXT, "What's in the repository"))
    }
    # Whoever tries the commands has folders beside them, such as that of a contact sheet.
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    tracked = [Path(line) for line in listed.stdout.decode().splitlines() if "/" in line]
    shown = {path.parts[0] for path in tracked if path.parts[0][0] != "."}
    assert "docs" in shown
    assert shown - named <= {"findings"}
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.slow
def test_the_consumer_prints_each_prompt_once(lane: Any, tmp_path: Path) -> None:
    (program,) = blocks(TEXT, "python")
    assert program.count("predictions-sub") == 1
    subscription = lane.subscription("predictions").rpartition("/")[2]
    path = tmp_path / "consumer.py"
    path.write_text(program.replace("predictions-sub", subscription), encoding="utf-8")
    # The second one has the id of the first, as a decoy would, but not its key.
    fox, owls = (
        _prediction("fox", "01" * 32, "gs://b/1.png"),
        _prediction("fox", "02" * 32, "gs://b/2.png", "gs://b/3.png"),
    )
    for prediction in (fox, fox, owls):
        data, attributes = encode(prediction)
        lane.publisher.publish(lane.topic("predictions"), data, **attributes).result(timeout=60)
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        # A consumer that prints too little would be waited for in vain.
        timer = threading.Timer(120, process.kill)
        timer.start()
        assert process.stdout
        printed = [process.stdout.readline().strip() for _ in range(3)]
        timer.cancel()
        process.kill()
    assert sorted(printed) == ["gs://b/1.png", "gs://b/2.png", "gs://b/3.png"]


def _prediction(prompt_id: str, key: str, *images: str) -> Prediction:
    return Prediction(
        prompt_id=prompt_id,
        deduplication_key=key,
        digest="0" * 32,
        prompt=prompt_id,
        images=images,
        model="gemini-3.1-flash-image",
        source="stream",
        reused=False,
        created_at="2026-11-28T00:00:00+00:00",
        latency_ms=1000,
    )
