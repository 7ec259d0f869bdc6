"""The demo is what a newcomer runs first: it must work, and say what it claims."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_the_demo_shows_the_whole_way_and_leaves_the_pictures(tmp_path):
    folder = tmp_path / "demo"
    shown = subprocess.run(
        [sys.executable, "-m", "localcloud.demo", "--state", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Every prompt is accounted for" in shown.stdout
    for reason in ("INVALID_PROMPT", "BLOCKED", "MODEL_ERROR"):
        assert f"✗ {reason}" in shown.stdout
    pictures = list((folder / "contact-sheet" / "images").glob("*.png"))
    page = (folder / "contact-sheet" / "index.html").read_text()
    assert len(pictures) > 50
    assert all(f"images/{picture.name}" in page for picture in pictures)
