import pytest

from beam_jobs.prefetch.folder import PrefetchFolder


def test_the_objects_of_a_run_are_below_its_folder():
    folder = PrefetchFolder.of("b", "run-1")
    assert folder == PrefetchFolder.parse("gs://b/prefetch/run-1/")
    assert (folder.bucket, folder.prefix) == ("b", "prefetch/run-1/")
    assert folder.parts == "gs://b/prefetch/run-1/parts.json"
    assert folder.state == "gs://b/prefetch/run-1/prefetch.json"
    assert folder.report == "gs://b/prefetch/run-1/import.json"
    part = folder.part("0a1b", 3)
    assert part.requests == "gs://b/prefetch/run-1/0a1b/part-00003/requests.jsonl"
    assert part.manifest == "gs://b/prefetch/run-1/0a1b/part-00003/manifest.jsonl"
    assert part.output == "gs://b/prefetch/run-1/0a1b/part-00003/output/"


@pytest.mark.parametrize(
    "url", ["gs://b/", "gs://b/prefetch/run-1", "/prefetch/run-1/", "gs:///x/"]
)
def test_what_is_no_folder_is_refused(url):
    with pytest.raises(ValueError, match="expected gs://BUCKET/FOLDER/"):
        PrefetchFolder.parse(url)
