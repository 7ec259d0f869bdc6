"""A prompt becomes prompts that the parser accepts, or one dead letter."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs.custom.function import CustomFunction, Refusal
from beam_jobs.custom.preprocess import Preprocess, preprocess_of
from beam_jobs.custom.results import KeptResults
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.limits import MAX_PROMPTS_OF_ONE
from beam_jobs.prompts.parse import Prompt, parse
from tests import custom_functions
from tests.beam_jobs.conftest import GEMINI
from tests.conftest import Lane
from tests.message_schemas import message_of

DEFAULTS = PromptDefaults(GEMINI, frozenset({GEMINI}))


class NothingKept:
    """Storage in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def find(self, prompt: Prompt) -> Any:
        return self.kept.get(prompt.deduplication_key)

    def keep(self, prompt: Prompt, fields: Any, digests: Any) -> Any:
        return self.kept.setdefault(prompt.deduplication_key, fields)


def made_of(body: str | dict[str, Any], name: str = "by_its_text", kept: Any = None) -> list[Any]:
    function = CustomFunction.named("--preprocess", f"tests.custom_functions:{name}")
    data = (json.dumps(body) if isinstance(body, dict) else body).encode()
    prompt = parse(data, {"tenant": "a"}, origin="m-1", defaults=DEFAULTS)
    assert isinstance(prompt, Prompt)
    calls = Preprocess(function, DEFAULTS, kept or NothingKept(), timeout_s=0.2)
    return calls.prompts(prompt)


@pytest.fixture(autouse=True)
def _nothing_hangs_on() -> Iterator[None]:
    custom_functions.let_go.clear()
    yield
    custom_functions.let_go.set()


def test_what_the_function_returns_is_what_goes_on():
    (prompt,) = made_of({"prompt": "a fox", "id": "fox-1"})
    assert (prompt.text, prompt.prompt_id) == ("a fox!", "fox-1")
    assert json.loads(prompt.body)["prompt"] == "a fox"


def test_one_prompt_can_become_several_with_ids_of_their_own():
    prompts = made_of({"prompt": "A fox", "id": "fox-1"}, "three")
    assert [each.prompt_id for each in prompts] == ["fox-1#1", "fox-1#2", "fox-1#3"]
    assert len({each.digest for each in prompts}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise it", "raised ValueError: cannot draw raise it"),
        ("exit now", "raised SystemExit"),
        ("hang on", "did not return within 0.2 s"),
        ("nothing", "returned NoneType; expected a Prompt"),
        ("empty", "returned an empty list"),
        ("many", f"returned 17 prompts; the limit is {MAX_PROMPTS_OF_ONE}"),
        ("wrong", "returned an invalid prompt: field 'images': expected"),
    ],
)
def test_whatever_goes_wrong_is_one_dead_letter_that_can_be_replayed(
    text: str, said: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG):
        (failure,) = made_of({"prompt": f"{text} with a secret fox", "id": "fox-1"})
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == (Reason.CUSTOM_FUNCTION_FAILED, True)
    assert failure.detail.startswith("--preprocess tests.custom_functions:by_its_text ")
    assert said in failure.detail
    assert (failure.prompt_id, failure.source) == ("fox-1", "stream")
    assert json.loads(failure.body)["id"] == "fox-1"
    assert "fox" not in caplog.text
    message_of(failure)


def test_a_refusal_is_a_dead_letter_that_nobody_replays():
    (failure,) = made_of("refuse this")
    assert (failure.reason, failure.retryable) == (Reason.BLOCKED, False)
    assert failure.detail == (
        "refused by --preprocess tests.custom_functions:by_its_text: not for children"
    )


def test_a_failure_of_the_functions_own_keeps_its_reason_but_not_what_tells_the_prompt():
    (failure,) = made_of({"prompt": "fail this", "id": "fox-1"})
    assert (failure.reason, failure.retryable) == (Reason.UNAVAILABLE, True)
    assert (failure.prompt_id, failure.attributes) == ("fox-1", {"tenant": "a"})
    assert (failure.attempts, failure.body[:1]) == (0, b"{")


def test_a_function_cannot_change_attributes_in_place(monkeypatch: pytest.MonkeyPatch):
    def sneaky(prompt: Any) -> Any:
        prompt.attributes["tenant"] = "b"
        return prompt

    monkeypatch.setattr(CustomFunction, "load", lambda _: sneaky)
    (failure,) = made_of("A fox")
    assert "raised TypeError" in failure.detail
    assert failure.attributes == {"tenant": "a"}


def test_the_first_answer_counts_when_a_message_is_delivered_again():
    kept = NothingKept()
    first = made_of("A fox", "nondeterministic", kept)
    assert made_of("A fox", "nondeterministic", kept) == first
    assert made_of("A fox", "nondeterministic") != first


def test_refusals_and_failures_are_asked_for_anew():
    kept = NothingKept()
    made_of("refuse this", kept=kept)
    made_of("raise it", kept=kept)
    assert kept.kept == {}


def test_what_was_kept_and_is_no_longer_allowed_is_made_anew():
    kept = NothingKept()
    made_of("A fox", kept=kept)
    (key,) = kept.kept
    kept.kept[key] = [{"prompt": "A fox", "images": 4, "model": "gone"}]
    (failure,) = made_of("A fox", kept=kept)
    assert failure.reason is Reason.CUSTOM_FUNCTION_FAILED
    assert "made an invalid prompt before" in failure.detail


def _anything(prompt: Prompt) -> st.SearchStrategy[Any]:
    values = st.one_of(
        st.none(), st.text(max_size=20), st.integers(), st.floats(), st.binary(max_size=5)
    )
    names = [field.name for field in dataclasses.fields(Prompt)]
    changed = st.dictionaries(st.sampled_from(names), values, max_size=3).map(
        lambda changes: dataclasses.replace(prompt, **changes)
    )
    refusals = st.builds(Refusal, values)
    failures = st.builds(Failure, *(values for _ in range(7)))
    one = st.one_of(values, changed, refusals, failures, st.just(Prompt))
    return st.one_of(one, st.lists(one, max_size=20))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_result_is_prompts_that_a_sender_could_send_or_one_failure(data: st.DataObject):
    prompt = parse(b'{"prompt": "A fox", "id": "f"}', {"k": "v"}, origin="m", defaults=DEFAULTS)
    assert isinstance(prompt, Prompt)
    returned = data.draw(_anything(prompt))
    function = CustomFunction.named("--preprocess", "tests.custom_functions:three")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(CustomFunction, "load", lambda _: lambda _: returned)
        calls = Preprocess(function, DEFAULTS, NothingKept())  # type: ignore[arg-type]
        found = calls.prompts(prompt)
    assert found
    if isinstance(found[0], Failure):
        (failure,) = found
        message_of(failure)
        assert (failure.prompt_id, failure.body) == ("f", prompt.body)
        assert failure.deduplication_key == prompt.deduplication_key
        return
    assert len(found) <= MAX_PROMPTS_OF_ONE
    assert len({each.prompt_id for each in found}) == len(found)
    for each in found:
        assert isinstance(each, Prompt)
        assert (each.body, each.attributes) == (prompt.body, {"k": "v"})
        assert each.model == GEMINI
        assert 1 <= each.images <= 4


# ---- What is kept, in Cloud Storage


def kept_in(lane: Lane, client: Any = None) -> KeptResults:
    location = Location.parse(lane.images_location)
    return KeptResults(client or (lambda: lane.storage), location, "m:f@1", 5.0)


def test_what_is_kept_is_found_by_whoever_gets_the_message_again(
    lane: Lane, prompt_of: Callable[..., Prompt]
):
    prompt = prompt_of("A fox")
    kept = kept_in(lane)
    assert kept.find(prompt) is None
    assert kept.keep(prompt, [{"prompt": "first"}], ["0" * 32]) == [{"prompt": "first"}]
    assert kept.keep(prompt, [{"prompt": "second"}], ["1" * 32]) == [{"prompt": "first"}]
    replayed = dataclasses.replace(prompt, attributes={**prompt.attributes, "replays": "2"})
    assert kept_in(lane).find(replayed) == [{"prompt": "first"}]
    assert kept.find(prompt_of("An owl")) is None
    assert kept.find(dataclasses.replace(prompt, attributes={"team": "other"})) is None


def test_an_object_that_somebody_changed_is_a_dead_letter_that_names_it(
    lane: Lane, prompt_of: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
):
    prompt = prompt_of("A fox")
    kept = kept_in(lane)
    kept.keep(prompt, [{"prompt": "first"}], [])
    (name,) = lane.objects("images/preprocessed/")
    lane.put(name, "[]")
    function = CustomFunction.named("--preprocess", "tests.custom_functions:three")
    (failure,) = Preprocess(function, DEFAULTS, kept).prompts(prompt)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == (Reason.STORAGE_ERROR, True)
    assert f"{name} is not what a custom function has made; delete it" in failure.detail


def test_storage_that_cannot_be_reached_costs_no_call(
    lane: Lane, prompt_of: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
):
    def no_client() -> Any:
        raise OSError("no network")

    called: list[Any] = []
    monkeypatch.setattr(CustomFunction, "load", lambda _: called.append)
    function = CustomFunction.named("--preprocess", "tests.custom_functions:three")
    (failure,) = Preprocess(function, DEFAULTS, kept_in(lane, no_client)).prompts(prompt_of("x"))
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == (Reason.STORAGE_ERROR, True)
    assert called == []


def test_a_process_has_one_for_each_function_and_job():
    function = CustomFunction.named("--preprocess", "tests.custom_functions:three")
    location = Location.parse("gs://bucket-1/images")
    one = preprocess_of(function, DEFAULTS, location, 600.0)
    assert preprocess_of(function, DEFAULTS, location, 600.0) is one
