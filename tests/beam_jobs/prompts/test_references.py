"""Reference images as prompts name them: which names are taken, and which are refused."""

import json
from typing import Any

import pytest

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Parsed, Prompt, parse

GEMINI = "gemini-3.1-flash-image"
DEFAULTS = PromptDefaults(
    GEMINI, frozenset({GEMINI, "flux-1"}), reference_buckets=frozenset({"own-b", "other-b"})
)


def parsed(references: Any, **fields: Any) -> Parsed:
    body = json.dumps({"prompt": "x", "references": references, **fields}).encode()
    return parse(body, {}, origin="1", defaults=DEFAULTS)


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        (["gs://own-b/a b|c.png"], ["gs://own-b/a b|c.png"]),
        ("gs://own-b/a.png", ["gs://own-b/a.png"]),
        (" gs://own-b/a.png|gs://other-b/b/c  gs://own-b/d\n", None),
        ([{"uri": "gs://own-b/a.png", "role": " The style. "}], ["gs://own-b/a.png"]),
        ([], []),
        ("", []),
        (None, []),
    ],
    ids=str,
)
def test_references_are_a_list_or_a_cell_of_paths(given, paths):
    result = parsed(given)
    assert isinstance(result, Prompt), result
    expected = ["gs://own-b/a.png", "gs://other-b/b/c", "gs://own-b/d"] if paths is None else paths
    assert [each.path for each in result.references] == expected
    if not expected:
        assert result.digest == parse(b"x", {}, origin="1", defaults=DEFAULTS).digest  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["gs://secret/a.png"],
            "is in none of the buckets that the job may show",
        ),
        (["gs://own-b/../secret/a.png"], "expected gs://BUCKET/NAME of one picture"),
        (["gs://own-b/a/./b.png"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/a//b.png"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/*.png"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/a.png#1"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/a\n.png"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/folder/"], "expected gs://BUCKET/NAME"),
        (["gs://own-b"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/\ud800"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/" + "x" * 1_025], "expected gs://BUCKET/NAME"),
        (["https://own-b/a.png"], "expected gs://BUCKET/NAME"),
        (["gs://own-b/ok.png", "/etc/passwd"], "field 'references', number 2: expected gs://"),
        ([7], "expected gs://BUCKET/NAME of one picture, got 7"),
        ({"uri": "gs://own-b/a"}, "expected a list of gs:// paths"),
        ([{"uri": "gs://own-b/a", "url": 1}], "number 1: unknown field 'url'; expected uri and"),
        ([{"uri": "gs://own-b/a", "role": "x" * 201}], "the role has 201 characters; the limit"),
        (["gs://own-b/a"] * 15, f"{GEMINI} takes at most 14, got 15"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_names_no_picture_of_an_allowed_bucket_is_refused(given, says):
    result = parsed(given)
    assert isinstance(result, Failure)
    assert says in result.detail
    assert (result.reason, result.retryable) == (Reason.INVALID_PROMPT, False)


def test_a_predict_model_takes_none_and_a_job_without_buckets_neither():
    result = parsed(["gs://own-b/a.png"], model="flux-1")
    assert isinstance(result, Failure)
    assert result.detail == (
        "field 'references': flux-1 takes none, because it does not read Cloud Storage; name a "
        "Gemini model in the field model, or remove the field"
    )
    result = parse(
        b'{"prompt": "x", "references": "gs://own-b/a"}',
        {},
        origin="1",
        defaults=PromptDefaults(GEMINI, frozenset()),
    )
    assert isinstance(result, Failure)
