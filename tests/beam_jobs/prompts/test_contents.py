"""What a file holds is told by its first bytes. test_beam_files.py has damaged gzip files."""

import base64
import bz2
import gzip
import io
import lzma
import random
import zipfile

import pytest

from beam_jobs.prompts.contents import NotTextError, text_chunks

TEXT = b"a fox\nan owl\n"


def content(stored):
    return b"".join(text_chunks(io.BytesIO(stored)))


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("p.txt", "a fox\n" * 1000)
    return file.getvalue()


@pytest.mark.parametrize(
    "stored",
    [
        TEXT,
        gzip.compress(TEXT, mtime=0),
        gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0),
        gzip.compress(b"a fox\n", mtime=0) + gzip.compress(b"an owl\n", mtime=0) + bytes(100),
    ],
    ids=["plain", "gzip", "gzip in gzip", "members and padding"],
)
def test_gzip_is_told_by_its_first_bytes(stored):
    assert content(stored) == TEXT


@pytest.mark.parametrize(
    "stored",
    [b"", gzip.compress(b"", mtime=0), gzip.compress(gzip.compress(b"", mtime=0), mtime=0)],
)
def test_a_file_can_be_empty(stored):
    assert content(stored) == b""


def test_gzip_in_gzip_in_gzip_is_refused():
    with pytest.raises(NotTextError, match="gzipped more than 2 times"):
        content(gzip.compress(gzip.compress(gzip.compress(TEXT))))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (zipped(), "is ZIP"),
        (bz2.compress(TEXT), "is bzip2"),
        (bz2.compress(b""), "is bzip2"),
        (lzma.compress(TEXT), "is xz"),
        (lzma.compress(TEXT, lzma.FORMAT_ALONE), "is LZMA"),
        (b"\x28\xb5\x2f\xfd\x04\x00" + TEXT, "is Zstandard"),
        (b"\x04\x22\x4d\x18" + TEXT, "is LZ4"),
        (b"PAR1\x15\x04\x15" + TEXT, "is Parquet"),
        (b"p.txt" + bytes(252) + b"ustar\x0000" + bytes(248) + TEXT, "is tar"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "is PNG"),
        ("a fox\nan owl\n".encode("utf-16"), "is UTF-16"),
        ("a fox\nan owl\n".encode("utf-32"), "is UTF-16 or UTF-32"),
        ("狐狸在雪地里\n猫头鹰\n".encode("utf-16"), "is UTF-16"),
        ("a fox\nan owl\n".encode("utf-16-le"), "is UTF-16 without a byte order mark"),
        ("a fox\nan owl\n".encode("utf-16-be"), "is UTF-16 without a byte order mark"),
        (bytes(1000), "or binary"),
        (rb"{\rtf1\ansi a fox}", "is RTF"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is HTML"),
        (b'<html lang="en">\n', "is HTML"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "is XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n", "is a Git LFS"),
        (b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n", "is encrypted"),
        (base64.encodebytes(TEXT * 20), "is base64"),
        (base64.encodebytes(TEXT * 5), "is base64"),
        (b"+/v8-a fox\n", "is UTF-7"),
        (random.Random(1).randbytes(100_000), "is binary"),
        (random.Random(2).randbytes(300), "is binary"),
        (gzip.compress(random.Random(3).randbytes(5000), mtime=0), "is binary"),
        (gzip.compress(TEXT, mtime=0)[2:] + random.Random(4).randbytes(500), "is binary"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_file_that_is_no_text_is_refused_as_a_whole(stored, said):
    with pytest.raises(NotTextError, match=said):
        next(text_chunks(io.BytesIO(stored)))


@pytest.mark.parametrize(
    "text",
    [
        b"PK is a name\n",
        b"BZh is a name\n",
        b"PAR1 is a name\n",
        b"7z\n",
        b"<lora:fox:1> a fox\n",
        b"version 2 of a fox\n",
        b"-----\na fox\n",
        b"begin with a fox\n",
        b"x" * 80 + b"\na fox\n",
        "Füchse\n".encode(),
        "Füchse\nEulen\n".encode("latin-1"),
        "Лиса в снегу\nСова\n".encode("cp1251"),
        "雪の中の柴犬\n".encode("shift_jis"),
        b"a fox\na\x00b\nan owl\n",
        b"\xff\xfe\na fox\nan owl\n",
        b"a fox\n" + random.Random(5).randbytes(5000) + b"\nan owl\n" * 5,
        b"\x1b[1ma fox\x1b[0m\n",
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_bad_rows_make_no_text_a_binary_file(text):
    assert content(text) == text


def test_what_came_before_a_stream_broke_off_is_there():
    class Torn:
        def __init__(self):
            self.pieces = [b"a fox\n", ConnectionResetError("gone")]

        def read(self, size):
            piece = self.pieces[0]
            if isinstance(piece, Exception):
                raise piece
            return self.pieces.pop(0)

    chunks = text_chunks(Torn())
    assert next(chunks) == b"a fox\n"
    with pytest.raises(ConnectionResetError):
        next(chunks)
