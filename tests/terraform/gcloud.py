"""Why this exists: `gcloud storage` as far as `scripts/upload_to_airflow.sh` uses it, with folders
for buckets, because `gcloud` can't be installed everywhere.

Flags as https://cloud.google.com/sdk/gcloud/reference/storage/rsync has them: `--exclude` is a
regular expression of Python's on the path below the source, and what it excludes is neither copied
nor deleted. Whatever else is asked for is an error.
"""

import os
import re
import shutil
import sys
from pathlib import Path

BUCKETS = "GCLOUD_BUCKETS"


def _at(url: str) -> Path:
    if not url.startswith("gs://"):
        raise SystemExit(f"ERROR: {url} isn't a gs:// URL")
    return Path(os.environ[BUCKETS], url.removeprefix("gs://"))


def _rsync(exclude: str, source: str, destination: str) -> None:
    here, there = Path(source), _at(destination)
    wanted = {
        name
        for name in _below(here)
        if not re.match(exclude.removeprefix("--exclude="), name.as_posix())
    }
    for name in _below(there) - wanted:
        if not re.match(exclude.removeprefix("--exclude="), name.as_posix()):
            (there / name).unlink()
    for name in wanted:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, there / name)


def _below(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def main(words: list[str]) -> None:
    """Run a command; one that is not known here fails."""
    match words:
        case ["auth", "print-access-token"]:
            print("token")
        case [
            "storage",
            "rsync",
            "--recursive",
            "--delete-unmatched-destination-objects",
            exclude,
            source,
            destination,
        ]:
            _rsync(exclude, source, destination)
        case ["storage", "cp", *sources, destination] if destination.endswith("/"):
            folder = _at(destination)
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                shutil.copyfile(source, folder / Path(source).name)
        case ["storage", "rm", url] if url.endswith("/**"):
            shutil.rmtree(_at(url.removesuffix("/**")))
        case ["storage", "rm", url]:
            _at(url).unlink()
        case _:
            raise SystemExit(f"ERROR: no such command here: {' '.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
