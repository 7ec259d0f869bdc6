"""Whether another process of this machine has ended."""

import subprocess
import sys

import pytest

from beam_jobs.engine.this_process import has_ended, process_name
from tests.conftest import ROOT, eventually


def test_a_process_has_ended_once_the_kernel_says_so():
    me = process_name()
    assert not has_ended(me)
    child = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys; from beam_jobs.engine.this_process import process_name;"
            "print(process_name(), flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    name = child.stdout.readline().strip()
    assert name.partition("/")[0] == me.partition("/")[0]
    assert not has_ended(name)
    child.kill()
    eventually(lambda: has_ended(name), within_s=30)  # a zombie has ended too
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert has_ended(name)


@pytest.mark.parametrize(
    "name", ["", "x", "///", "elsewhere/1/1/x", "{me}/1", "{me}/x/1/y", "{me}/-1/1/y", "{me}/1/0/y"]
)
def test_of_a_process_that_it_cannot_know_the_kernel_says_nothing(name):
    assert not has_ended(name.format(me=process_name().partition("/")[0]))
