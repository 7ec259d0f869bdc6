import json

import pytest

from beam_jobs.prefetch.manifest import ManifestError, ManifestRow
from beam_jobs.prompts.references import Reference

DIGEST = "0123456789abcdef" * 2
ROW = ManifestRow(
    image=f"{DIGEST}-1",
    images=2,
    model="gemini-nano-banana-2.1",
    deciding={"prompt": "a fox \ud800 — 狐", "seed": None},
    references=(Reference("gs://b/r.png", content="md5:x:1", mime_type="image/png"),),
    request="ab" * 16,
    payer="cd" * 16,
)


def test_a_row_comes_back_as_it_was_written_even_with_a_lone_surrogate():
    line = ROW.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert ManifestRow.parse(line) == ROW
    assert (ROW.digest, ROW.index) == (DIGEST, 1)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(ROW.to_line()), **fields}).encode()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not a row of a manifest"),
        (b"[]", "not a row of a manifest"),
        (b'"a secret prompt"', "not a row of a manifest"),
        (changed(image="../../etc-1"), "image: "),
        (changed(image=f"{DIGEST}-2"), "image: "),
        (changed(image=7), "image: expected a text"),
        (changed(images=0), "images: "),
        (changed(images=True), "images: "),
        (changed(deciding="a secret prompt"), "deciding: "),
        (changed(references=["a secret prompt"]), "not a row of a manifest"),
        (changed(payer=None), "payer: expected a text"),
    ],
)
def test_what_is_no_row_is_refused_without_a_word_of_the_prompt(line, problem):
    with pytest.raises(ManifestError, match=problem) as raised:
        ManifestRow.parse(line)
    assert "secret" not in str(raised.value)
