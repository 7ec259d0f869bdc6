"""Files that others read while they are written."""

import json
import stat

import pytest

from localcloud.files import write_json


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "ports.json"
    write_json(path, {"storage": 1})
    with pytest.raises(TypeError):
        write_json(path, {"storage": 2, "vertex": object()})
    assert json.loads(path.read_text()) == {"storage": 1}


def test_a_secret_is_readable_by_its_owner_only_from_the_start(tmp_path):
    path = tmp_path / "secrets.json"
    write_json(path, {"key": "x"}, mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
