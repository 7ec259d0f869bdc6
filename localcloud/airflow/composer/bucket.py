"""Puts DAGs and plugins where Composer's processes see them, as `composer.tf` uploads them.

https://docs.cloud.google.com/composer/docs/composer-3/cloud-storage says which process sees what.
"""

from collections.abc import Iterator
from pathlib import Path

_PLUGIN_FILES = frozenset({".py", ".html", ".css", ".js", ".svg", ".md"})


def layout(dags: Path, plugins: Path, beam_jobs: Path) -> dict[str, Path]:
    """Return the source of each object in Composer's bucket, by the object's name.

    `tests/terraform` compares the names with the plan of `composer.tf`.
    """
    files = {f"dags/{path.name}": path for path in sorted(dags.glob("*.py"))}
    for path in _files(plugins):
        if path.suffix in _PLUGIN_FILES or path.name == ".airflowignore":
            files[f"plugins/{path.relative_to(plugins)}"] = path
    for path in _files(beam_jobs):
        # Why the commands for people are left out: scripts/upload_to_airflow.sh.
        program = path == beam_jobs / "__main__.py"
        if (path.suffix == ".py" and not program) or path.name == ".airflowignore":
            files[f"plugins/beam_jobs/{path.relative_to(beam_jobs)}"] = path
    files["plugins/beam_jobs/catalog.json"] = beam_jobs / "catalog.json"
    return files


def deploy(files: dict[str, Path], folder: Path) -> None:
    """Copy the files into a folder that stands for `/home/airflow/gcs`; remove all others there.

    Plugins come first, as DAG files import them, and before them what keeps Airflow from importing
    their packages as plugins. A file that has not changed is left as it is.
    """

    def place(item: tuple[str, Path]) -> tuple[bool, bool, str]:
        name, _ = item
        return not name.endswith(".airflowignore"), name.startswith("dags/"), name

    for name, source in sorted(files.items(), key=place):
        target = folder / name
        content = source.read_bytes()
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # No process is to see half a file.
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(content)
        part.replace(target)
    for path in _files(folder) if folder.is_dir() else ():
        if str(path.relative_to(folder)) not in files:
            path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
