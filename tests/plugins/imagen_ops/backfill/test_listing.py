"""Which files of the local storage a glob lists, and when their fingerprint changes."""

from beam_jobs.prompts.globs import PromptGlob
from imagen_ops.backfill.listing import fingerprint_files
from tests.conftest import BUCKET, Lane
from tests.plugins.imagen_ops.backfill.conftest import Planned


def test_only_files_that_the_glob_matches_are_listed(lane: Lane, planned: Planned) -> None:
    for name in ("ds=1/a.txt", "ds=1/b.jsonl", "ds=1/below/c.txt", "ds=10/d.txt", "ds=1", "ds=1."):
        lane.put(f"prompts/{name}", b'{"prompt": "a fox"}\n')

    def names(pattern: str) -> list[str]:
        paths = [file.path for file in planned(pattern).first_files]
        return [path.removeprefix(f"gs://{BUCKET}/{lane.name}/prompts/") for path in paths]

    assert names("prompts/ds=1/*") == ["ds=1/a.txt", "ds=1/b.jsonl"]
    assert names("prompts/ds=1/") == ["ds=1/a.txt", "ds=1/b.jsonl"]
    assert names("prompts/*/*.txt") == ["ds=1/a.txt", "ds=10/d.txt"]
    assert names("prompts/ds=1/**") == ["ds=1/a.txt", "ds=1/b.jsonl", "ds=1/below/c.txt"]
    assert names("prompts/ds=1/[a]*") == ["ds=1/a.txt"]
    assert names("prompts/ds=1") == ["ds=1"]


def test_a_fingerprint_changes_with_each_file_and_only_then(lane: Lane) -> None:
    glob = PromptGlob.parse(f"gs://{BUCKET}/{lane.name}/prompts/*")
    fingerprints = [fingerprint_files(lane.storage, glob)]
    for name, content in (("a.txt", b"a fox\n"), ("b.txt", b"a fox\n"), ("a.txt", b"an owl\n")):
        lane.put(f"prompts/{name}", content)
        fingerprints.append(fingerprint_files(lane.storage, glob))
    assert len(set(fingerprints)) == 4
    lane.put("elsewhere/c.txt", b"a hen\n")
    assert fingerprint_files(lane.storage, glob) == fingerprints[-1]
