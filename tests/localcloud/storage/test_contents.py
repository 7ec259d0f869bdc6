"""Contents on their way in, on a disk that fails and is well again."""

import base64
import contextlib
import resource

import google_crc32c
import pytest

from localcloud.storage.contents import Contents


@contextlib.contextmanager
def room_for(size: int):
    """Let no file of this process grow beyond `size` bytes: what does not fit is cut off."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("again", [b"b" * 1000, b"c" * 10, b""])
def test_what_a_failed_write_left_is_not_in_the_content(tmp_path, again):
    contents = Contents(tmp_path)
    writer = contents.create()
    writer.append([b"a" * 1000])
    with room_for(1500), pytest.raises(OSError, match="too large"):
        writer.append([b"b" * 1000])
    assert writer.size == 1000
    writer.append([again])
    content = writer.finish()
    whole = b"a" * 1000 + again
    with contents.open(content.id) as file:
        assert file.read() == whole
    assert content.size == len(whole)
    assert base64.b64decode(content.crc32c) == google_crc32c.value(whole).to_bytes(4, "big")
