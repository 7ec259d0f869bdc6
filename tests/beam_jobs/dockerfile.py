"""Reads beam_jobs/Dockerfile and related files as a build does.

Only the forms that this file is written in: no here-documents, no escapes but at line ends.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pathspec

from tests.conftest import ROOT

DOCKERFILE = ROOT / "beam_jobs/Dockerfile"
IGNORED = ROOT / ".gcloudignore"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A `FROM … AS name`, with the instructions of its base stages before its own."""

    name: str
    image: str
    instructions: tuple[tuple[str, str], ...]

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]

    def environment(self, **arguments: str) -> dict[str, str]:
        """Return the variables that its ENVs set, with these values for its ARGs."""
        unknown = set(arguments) - set(self.values("ARG"))
        assert not unknown, f"no ARG for {unknown}: a build would pass these in vain"
        return {
            name: re.sub(r"\$(\w+)", lambda found: arguments.get(found[1], ""), value)
            for pairs in self.values("ENV")
            for name, _, value in (pair.partition("=") for pair in shlex.split(pairs))
        }

    def copies(self) -> list[tuple[str, str]]:
        """Return the pattern and destination of each copy from the build context."""
        found = []
        for value in self.values("COPY"):
            *sources, destination = value.split()
            if not sources[0].startswith("--from="):
                found += [(source, destination) for source in sources]
        return found

    def files(self) -> dict[str, Path]:
        """Return the path in the image of each file of the build context."""
        return {
            f"{destination.rstrip('/')}/{name}": path
            for source, destination in self.copies()
            for name, path in sent_of(source).items()
        }


def stages(text: str | None = None) -> Mapping[str, Stage]:
    """Return the Dockerfile's stages by name."""
    found: dict[str, Stage] = {}
    name = ""
    for instruction, value in _instructions(text or DOCKERFILE.read_text()):
        if instruction == "FROM":
            image, _, name = value.replace(" AS ", " ").partition(" ")
            below = found.get(image)
            found[name] = Stage(
                name,
                below.image if below else image,
                below.instructions if below else (),
            )
        else:
            stage = found[name]
            added = (*stage.instructions, (instruction, value))
            found[name] = dataclasses.replace(stage, instructions=added)
    return found


def targets() -> dict[str, Stage]:
    """Return the stages that no other stage is based on or copies from."""
    every = stages()
    text = DOCKERFILE.read_text()
    return {
        name: stage
        for name, stage in every.items()
        if f"--from={name} " not in text and f"FROM {name} " not in text
    }


def context() -> list[Path]:
    """Return the files that Cloud Build is sent."""
    folders = (
        *((ROOT / name).rglob("*") for name in ("beam_jobs", "custom")),
        ROOT.glob("*"),
    )
    return [path for paths in folders for path in paths if path.is_file() and not is_ignored(path)]


def is_ignored(path: Path) -> bool:
    """Return whether `.gcloudignore` keeps a file from being sent; it need not be there."""
    ignored = pathspec.GitIgnoreSpec.from_lines(IGNORED.read_text().splitlines())
    return ignored.match_file(str(path.relative_to(ROOT)))


def sent_of(source: str) -> dict[str, Path]:
    """Return the files that a COPY of `source` finds, by their paths below its destination.

    Of a folder it takes the contents, of a file the file.
    """
    root = ROOT / source
    below = root if root.is_dir() else root.parent
    return {
        str(path.relative_to(below)): path
        for path in context()
        if path == root or root in path.parents
    }


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            instruction, _, value = line.strip().partition(" ")
            yield instruction, " ".join(value.split())
