"""Terraform's own style, where Terraform is."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "file",
    [
        ROOT / "composer.tf",
        ROOT / "monitoring.tf",
        Path(__file__).parent / "fixtures" / "service.tf",
    ],
    ids=str,
)
def test_terraform_fmt_has_nothing_to_change(terraform, file):
    done = subprocess.run(
        [terraform, "fmt", "-check", "-diff", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
