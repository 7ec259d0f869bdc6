"""The architecture picture against its source, and its source against the code."""

import html
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from imagen_ops.backfill import run
from imagen_ops.dead_letters import archive
from imagen_ops.jobs import launch_request
from imagen_ops.records import folders
from localcloud.resources import Names

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
    folders = {folder for label in CLUSTERS.values() for folder in re.findall(r"(\w+)/", label)}
    assert folders == {"dags", "plugins", "beam_jobs", "localcloud"}
    for folder in folders:
        assert (ROOT / folder).is_dir(), folder
    for folder in named("plugin"):
        assert list((ROOT / "plugins" / "imagen_ops" / folder).glob("*.py")), folder


def test_every_folder_of_the_bucket_is_one_that_the_code_uses():
    used = {
        run.PROMPTS_FOLDER,
        archive.FOLDER,
        launch_request._REPORTS,
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
