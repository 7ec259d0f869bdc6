"""Beam's `gs://` files, with credentials from the metadata server as on a Dataflow worker."""

import os

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def files(server, metadata_address, monkeypatch, tmp_path):
    """Beam's FileSystems, which find their credentials by themselves."""
    from apache_beam.internal.gcp import auth
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from google.auth.compute_engine import _metadata

    # google-auth has read GCE_METADATA_HOST when it was imported, and Beam may have found
    # credentials in another test.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", metadata_address)
    monkeypatch.setenv("GCE_METADATA_IP", metadata_address)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
    monkeypatch.setattr(auth._Credentials, "_credentials", None)
    previous = FileSystems._pipeline_options
    FileSystems.set_options(PipelineOptions(["--project=demo-project"]))
    yield FileSystems
    FileSystems.set_options(previous)


def write(files, path: str, data: bytes) -> None:
    with files.create(path) as file:
        file.write(data)


def test_what_is_written_can_be_read_whole_and_in_ranges(files):
    data = os.urandom(20_000_000)
    write(files, "gs://pictures/in/one.bin", data)
    with files.open("gs://pictures/in/one.bin") as file:
        assert file.read() == data
    with files.open("gs://pictures/in/one.bin") as file:
        file.seek(17_000_000)
        assert file.read(1000) == data[17_000_000:17_001_000]
        file.seek(5)
        assert file.read(10) == data[5:15]


def test_compressed_prompt_files_are_read_as_text(files):
    write(files, "gs://pictures/prompts/ds=2026-11-01/a.txt.gz", b"a cat\na dog\n")
    with files.open("gs://pictures/prompts/ds=2026-11-01/a.txt.gz") as file:
        assert file.read() == b"a cat\na dog\n"


def test_globs_match(files):
    for name in ("ds=1/a.txt", "ds=1/b.jsonl", "ds=2/c.txt", "ds=2/deep/d.txt", "other"):
        write(files, f"gs://pictures/prompts/{name}", name.encode())

    def match(pattern: str) -> dict[str, int]:
        (found,) = files.match([f"gs://pictures/prompts/{pattern}"])
        prefix = "gs://pictures/prompts/"
        return {m.path.removeprefix(prefix): m.size_in_bytes for m in found.metadata_list}

    assert match("ds=*/*.txt") == {"ds=1/a.txt": 10, "ds=2/c.txt": 10}
    assert match("**.txt") == {"ds=1/a.txt": 10, "ds=2/c.txt": 10, "ds=2/deep/d.txt": 15}
    assert match("ds=1/a.txt") == {"ds=1/a.txt": 10}
    assert match("nope*") == {}


def test_renames_copies_and_deletes_go_through_the_batch_endpoint(files, server):
    sources = [f"gs://pictures/tmp/part {number}" for number in range(120)]
    targets = [f"gs://pictures/out/part {number}" for number in range(120)]
    for number, source in enumerate(sources):
        server.store.write("pictures", source.removeprefix("gs://pictures/"), b"%d" % number)
    files.rename(sources, targets)
    assert not files.exists(sources[0])
    with files.open(targets[119]) as file:
        assert file.read() == b"119"
    files.copy(targets[:2], sources[:2])
    assert files.exists(sources[1])
    files.delete(["gs://pictures/out/*"])
    (left,) = files.match(["gs://pictures/**"])
    assert sorted(m.path for m in left.metadata_list) == sources[:2]
    files.delete(["gs://pictures/tmp/"])
    assert not files.exists(sources[0])


def test_renaming_what_is_missing_fails_by_name(files):
    from apache_beam.io.filesystem import BeamIOError

    with pytest.raises(BeamIOError) as failure:
        files.rename(["gs://pictures/nope"], ["gs://pictures/new"])
    assert list(failure.value.exception_details.values()) == [404]


def test_sizes_checksums_and_times_are_known(files):
    write(files, "gs://pictures/a", b"12345")
    assert files.checksum("gs://pictures/a")
    assert files.last_updated("gs://pictures/a") > 1_700_000_000
    assert not files.exists("gs://pictures/b")


@pytest.mark.slow
def test_a_pipeline_reads_and_writes_text(files, server):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    write(files, "gs://pictures/prompts/a.txt", b"a cat\na dog\n")
    options = PipelineOptions(["--project=demo-project", "--runner=FnApiRunner"])
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.io.ReadFromText("gs://pictures/prompts/*.txt")
            | beam.Map(str.upper)
            | beam.io.WriteToText("gs://pictures/out/result", num_shards=1)
        )
    assert sorted(server.store.read("pictures", "out/result-00000-of-00001").split(b"\n")) == [
        b"",
        b"A CAT",
        b"A DOG",
    ]
