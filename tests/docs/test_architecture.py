"""The architecture picture against its source, and its source against the code."""

import html
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from beam_jobs import names
from imagen_ops.records import folders
from localcloud.resources import Names
from tests.docs.markdown import names_in_first_cells, section, text_of

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "docs" / "architecture.dot").read_text(encoding="utf-8")
PICTURE = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")

_NODE = re.compile(r"^ +(\w+) \[\s*label=\"([^\"]+)\",\s*class=\"(\w+)\"\s*\]$", re.MULTILINE)
_CLUSTER = re.compile(r"subgraph (cluster_\w+) \{\s*label=\"([^\"]+)\"")
NODES = {name: (label.split("\\n"), kind) for name, label, kind in _NODE.findall(SOURCE)}
CLUSTERS = dict(_CLUSTER.findall(SOURCE))


def named(kind: str) -> set[str]:
    """What the boxes of a kind name: their first line, without what is said about it."""
    first = [lines[0] for lines, found in NODES.values() if found == kind]
    return {re.sub(r"^topic |:.*| \(.*", "", line) for line in first}


def drawn(svg: str) -> tuple[Counter[str], Counter[str]]:
    """The titles and texts of a picture; where they are is up to Graphviz's version and fonts."""
    titles, texts = (
        Counter(html.unescape(found).strip() for found in re.findall(pattern, svg))
        for pattern in (r"<title>(.*?)</title>", r"<text [^>]*>(.*?)</text>")
    )
    return titles, texts


def test_the_picture_is_what_its_source_draws():
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's `dot` is not on PATH: the picture is not drawn again")
    done = subprocess.run(
        ["dot", "-Tsvg"], input=SOURCE, capture_output=True, text=True, timeout=60, check=True
    )
    assert drawn(PICTURE) == drawn(done.stdout), "draw it again: make docs"
    assert done.stderr == ""


def test_the_picture_has_the_boxes_of_its_source_and_no_others():
    titles, texts = drawn(PICTURE)
    boxes = {title for title in titles if "->" not in title} - {"Imagen on Airflow and Beam"}
    assert boxes == NODES.keys() | CLUSTERS.keys(), "draw it again: make docs"
    for lines, _ in NODES.values():
        assert set(lines) <= texts.keys()
    assert set(CLUSTERS.values()) <= texts.keys()


def test_every_box_is_of_a_kind_that_is_checked():
    assert {kind for _, kind in NODES.values()} == {
        *("topic", "subscription", "bucket", "dag", "plugin", "transform", "service")
    }


def test_it_has_the_topics_and_subscriptions_that_there_are():
    subscriptions, topics, _ = zip(*Names.subscriptions, strict=True)
    assert named("topic") == set(topics)
    assert named("subscription") == set(subscriptions)


def test_a_subscription_is_below_its_own_topic():
    labels = {name: lines[0].removeprefix("topic ") for name, (lines, _) in NODES.items()}
    wired = {
        (labels[second], labels[first])
        for first, second in re.findall(r"(\w+) -> (\w+)", SOURCE)
        if NODES[first][1] == "topic" and NODES[second][1] == "subscription"
    }
    assert wired == {(name, topic) for name, topic, _ in Names.subscriptions}


def test_it_has_the_dags_that_there_are():
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "dags").glob("*.py")]
    ids = {name for text in code for name in re.findall(r"\"(imagen_(?!images)\w+)\"", text)}
    assert named("dag") == ids
    assert len(ids) == sum(text.count("with DAG(") for text in code)


def test_every_folder_it_names_is_there():
    folders = {path for label in CLUSTERS.values() for path in re.findall(r"([\w/]+)/", label)}
    assert folders == {"dags", "plugins/imagen_ops", "beam_jobs", "localcloud"}
    for folder in folders:
        assert (ROOT / folder).is_dir(), folder
    for folder in named("plugin"):
        assert list((ROOT / "plugins" / "imagen_ops" / folder).glob("*.py")), folder


def test_every_folder_of_the_bucket_is_one_that_the_code_uses():
    used = {
        names.PROMPTS_FOLDER,
        names.ARCHIVE_FOLDER,
        names.JOBS_FOLDER,
        Path(folders.HEALTH_RECORDS).parent.name,
        "images",
    }
    assert named("bucket") == {f"{folder}/" for folder in used}
    settings = (ROOT / "plugins" / "imagen_ops" / "settings.py").read_text(encoding="utf-8")
    assert "/images" in settings


def test_every_step_of_the_jobs_is_one_of_their_transforms():
    code = "".join(
        (ROOT / "beam_jobs" / name).read_text(encoding="utf-8")
        for name in ("pipeline/transforms.py", "stream.py", "backfill.py")
    )
    assert named("transform") <= set(re.findall(r"\"([A-Z][a-z]+)\"\s*>>", code))


def test_it_is_readable_on_a_dark_page_too():
    """GitHub shows it on the reader's own background."""
    assert 'bgcolor="#ffffff"' in SOURCE
    assert re.search(r"<polygon fill=\"(#ffffff|white)\"", PICTURE)


# ---- The page about it

PAGE = text_of(ROOT / "docs" / "architecture.md")
ROOMS = {
    "plugins/imagen_ops": "imagen_ops",
    "beam_jobs": "beam_jobs",
    "localcloud": "localcloud",
}


def rooms(folder: str) -> list[str]:
    """The rooms of a folder, from the top down, as the page lists them."""
    named = names_in_first_cells(section(PAGE, f"`{folder}/`"))
    return [name.rstrip("/") for name in named]


def layers(package: str) -> list[set[str]]:
    """The layers of a package, from the top down, as `make lint` checks them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one.get("containers") == [package])
    return [set(re.findall(r"\w+", layer)) for layer in found]


@pytest.mark.parametrize("folder", ROOMS)
def test_every_room_is_on_the_page(folder: str) -> None:
    there = {
        path.name.removesuffix(".py")
        for path in (ROOT / folder).iterdir()
        if (path.is_dir() and list(path.glob("*.py"))) or path.suffix == ".py"
    } - {"__init__", "__main__"}
    listed = set(rooms(folder))
    assert listed <= there
    small = {name for name in there if (ROOT / folder / f"{name}.py").is_file()}
    # Small helpers of the stand-ins need no row.
    assert there - listed <= (small if folder == "localcloud" else set())


@pytest.mark.parametrize("folder", ["plugins/imagen_ops", "beam_jobs"])
def test_rooms_stand_in_the_order_that_the_linter_checks(folder: str) -> None:
    listed = rooms(folder)
    for layer in layers(ROOMS[folder]):
        among = layer - {"__main__"}
        assert set(listed[: len(among)]) == among
        del listed[: len(among)]
    assert listed == []


def test_a_dag_imports_nothing_of_the_project_but_the_plugins() -> None:
    for path in (ROOT / "dags").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?m)^\s*(?:from|import) (?:localcloud|beam_jobs)\b", text), path


def test_the_glossary_is_short_and_gives_each_word_one_meaning() -> None:
    lines = [line for line in section(PAGE, "Glossary").splitlines() if line.startswith("- ")]
    words = [re.match(r"- \*\*([a-z -]+)\*\*: \w", line) for line in lines]
    assert all(words), [line for line, word in zip(lines, words, strict=True) if not word]
    names = [word[1] for word in words if word]
    assert 20 <= len(names) <= 45
    assert names == sorted(set(names))
