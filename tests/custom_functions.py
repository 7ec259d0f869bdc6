"""Custom functions that tests name in the options of jobs, good and hostile ones."""

import dataclasses
import itertools
import threading
from typing import Any

from beam_jobs.custom.function import Refusal
from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.parse import Prompt

VERSION = "1"

# Counts over all calls, so that no two answers of `nondeterministic` are alike.
numbers = itertools.count()
# What `noted` was given.
seen: list[Prompt] = []
# What hangs does so until a test lets it go.
let_go = threading.Event()


def three(prompt: Prompt) -> list[Prompt]:
    return [
        dataclasses.replace(prompt, text=f"{prompt.text}, {season}")
        for season in ("in spring", "in summer", "in autumn")
    ]


def nondeterministic(prompt: Prompt) -> list[Prompt]:
    return [
        dataclasses.replace(prompt, text=f"{prompt.text}, version {next(numbers)}")
        for _ in range(2)
    ]


def noted(prompt: Prompt) -> Prompt:
    seen.append(prompt)
    return prompt


def by_its_text(prompt: Prompt) -> Any:
    """Do what the prompt's first word says."""
    match prompt.text.split()[0]:
        case "raise":
            raise ValueError(f"cannot draw {prompt.text}")
        case "exit":
            raise SystemExit(3)
        case "hang":
            let_go.wait(60.0)
            return prompt
        case "nothing":
            return None
        case "empty":
            return []
        case "many":
            return [prompt] * 17
        case "wrong":
            return dataclasses.replace(prompt, images=9)
        case "refuse":
            return Refusal("not for children")
        case "fail":
            return Failure("x", "y", Reason.UNAVAILABLE, "busy", True, 7, b"other", {"a": "b"})
    return dataclasses.replace(prompt, text=f"{prompt.text}!")


def signed(image: bytes) -> bytes:
    """Return a PNG with a comment behind its end, which viewers pass over."""
    return image + b"signed"


async def waits(prompt: Prompt) -> Prompt:
    return prompt


def generates(prompt: Prompt) -> Any:
    yield prompt


NOT_A_FUNCTION = 1
