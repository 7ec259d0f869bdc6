"""Publishing prompts from the command line."""

import gzip
import json

import pytest
from google.api_core import exceptions as api_exceptions

from beam_jobs.cli.commands.publish import _shown
from beam_jobs.cli.prompt_rows import bodies_of_file
from beam_jobs.cli.publish import MAX_WAITING, body_of, publish
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Prompt, parse

NOTHING = {"id": None, "images": None, "seed": None}


def test_a_prompt_without_parameters_is_published_as_it_is():
    assert body_of("naïve 🦊 {", NOTHING) == "naïve 🦊 {".encode()


def test_a_prompt_with_parameters_is_an_object_that_the_job_accepts():
    body = body_of("naïve 🦊", NOTHING | {"images": 2, "seed": 0, "id": "a"})
    assert json.loads(body) == {"prompt": "naïve 🦊", "images": 2, "seed": 0, "id": "a"}
    defaults = PromptDefaults("gemini-3.1-flash-image", frozenset())
    prompt = parse(body, {}, origin="1", defaults=defaults)
    assert isinstance(prompt, Prompt)
    assert (prompt.text, prompt.images, prompt.seed, prompt.prompt_id) == ("naïve 🦊", 2, 0, "a")


def test_a_reference_is_named_by_its_path_or_by_an_object_with_its_role():
    assert _shown("gs://b/a.png gs://b/c.png") == ["gs://b/a.png", "gs://b/c.png"]
    whole = {"uri": "gs://b/a b.png", "role": "The style."}
    assert _shown(json.dumps(whole)) == [whole]
    with pytest.raises(ValueError, match="--reference: expected a gs:// path, or JSON such as"):
        _shown('{"uri": ')


def received(lane, count):
    messages = []
    while len(messages) < count:
        response = lane.subscriber.pull(
            subscription=lane.subscription("prompts"), max_messages=100, timeout=20
        )
        messages += [item.message for item in response.received_messages]
    return messages


def test_all_messages_are_published_when_publish_returns(lane):
    bodies = [b"prompt %d" % number for number in range(250)]
    ids = publish(lane.topic("prompts"), iter(bodies), {"team": "ads"})
    messages = received(lane, 250)
    assert sorted(ids) == sorted(message.message_id for message in messages)
    assert sorted(message.data for message in messages) == sorted(bodies)
    assert {message.attributes["team"] for message in messages} == {"ads"}


def test_attributes_can_have_any_name(lane):
    names = ("topic", "data", "self", "timeout", "retry", "ordering_key", "client", "request")
    attributes = dict.fromkeys(names, "x")
    assert len(publish(lane.topic("prompts"), iter([b"a fox"]), attributes)) == 1
    (message,) = received(lane, 1)
    assert dict(message.attributes) == attributes
    assert message.ordering_key == ""


def test_a_service_that_does_not_answer_is_a_time_out(monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr("beam_jobs.cli.asking.PATIENCE_S", 0.2)
    with pytest.raises(TimeoutError, match="no connection within"):
        publish("projects/demo-project/topics/prompts", iter([b"a fox"]), {})


def test_a_missing_topic_is_an_error(cloud):
    with pytest.raises(api_exceptions.NotFound):
        publish("projects/demo-project/topics/no-such-topic", iter([b"a fox"]), {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b"a fox\n\nan owl\n"),
        ("p.jsonl.gz", gzip.compress(b'{"prompt": "a fox"}\n{"prompt": "an owl"}\n', mtime=0)),
        ("p.csv", b"prompt\na fox\nan owl\n"),
    ],
    ids=["txt", "jsonl.gz", "csv"],
)
def test_a_files_prompts_are_read_from_disk_and_from_storage(lane, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for path in (str(tmp_path / name), lane.put(name, content)):
        bodies = list(bodies_of_file(path))
        assert len(bodies) == 2
        assert [b"fox" in body for body in bodies] == [True, False]


def test_one_bad_row_is_named_before_anything_is_published(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"prompt,images\na fox,1\nan owl\na,b,c\n")
    with pytest.raises(ValueError, match="expected 2 cells") as caught:
        next(bodies_of_file(str(path)))
    assert str(caught.value).splitlines() == [
        f"{path}:3: expected 2 cells, got 1",
        f"{path}:4: expected 2 cells, got 3",
        "nothing was published",
    ]


def test_a_missing_file_is_named_in_the_error(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.txt: does not exist"):
        list(bodies_of_file(str(tmp_path / "gone.txt")))


def test_the_callbacks_run_for_each_row_and_each_published_message(lane, tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("a fox\nan owl\na hare\n")
    read, there = [], []
    bodies = bodies_of_file(str(path), read=lambda: read.append(1))
    topic = lane.topic("prompts")
    assert len(publish(topic, bodies, {}, published=lambda: there.append(1))) == 3
    assert (len(read), len(there)) == (3, 3)
    assert len(received(lane, 3)) == 3


@pytest.mark.slow
def test_messages_reported_as_published_are_there_after_an_error(lane, eventually):
    reported = 0

    def stop_at_5000():
        nonlocal reported
        reported += 1
        if reported == 5000:
            raise KeyboardInterrupt

    sent = 0

    def bodies():
        nonlocal sent
        for sent in range(1, 100_001):
            yield b"prompt %d" % sent

    with pytest.raises(KeyboardInterrupt):
        publish(lane.topic("prompts"), bodies(), {}, published=stop_at_5000)
    assert sent - reported <= MAX_WAITING, "more messages wait than MAX_WAITING"
    missing = {b"prompt %d" % number for number in range(1, reported + 1)}

    # More messages may be published than were reported, and they arrive in any order.
    def all_there():
        missing.difference_update(message.data for message in received(lane, 1))
        return not missing

    eventually(all_there, what="every prompt that was reported")


def test_a_missing_topic_ends_a_long_file_at_once(cloud):
    bodies = iter([b"a fox"] * 100_000)
    with pytest.raises(api_exceptions.NotFound):
        publish("projects/demo-project/topics/no-such-topic", bodies, {})
    assert len(list(bodies)) >= 100_000 - MAX_WAITING


def test_a_prompt_of_a_template_needs_no_text():
    body = body_of(None, {"template": "studio", "vars": {"product": "a shoe"}, "id": None})
    assert json.loads(body) == {"template": "studio", "vars": {"product": "a shoe"}}


def test_rows_of_a_file_get_the_template_that_was_named_unless_they_name_one(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("product,template\na shoe,\na hat,winter\n")
    vars_ = [{"product": "a shoe"}, {"product": "a hat"}]
    assert [json.loads(body) for body in bodies_of_file(str(path), template="studio")] == [
        {"template": "studio", "vars": vars_[0]},
        {"template": "winter", "vars": vars_[1]},
    ]
    path.write_text("product\na shoe\n")
    with pytest.raises(ValueError, match="no column 'prompt'"):
        list(bodies_of_file(str(path)))
