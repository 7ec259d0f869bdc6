"""`python -m beam_jobs` as people call it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from google.cloud.storage import retry as storage_retry

from beam_jobs import __main__ as cli
from beam_jobs import catalog
from beam_jobs.cli import gallery
from beam_jobs.images.location import Location
from beam_jobs.images.recent_index import flush, record_outcome
from beam_jobs.outcomes import CANARY_ATTRIBUTE, Failure, Prediction, Reason, encode
from beam_jobs.prompts.fields import FIELDS, Kind
from tests.conftest import BUCKET

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(cloud, capsys):
    """Run a command, and return its exit code, output and errors."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def record(lane):
    """Store an image with its record, as the job does."""

    def make(text, image=b"\x89PNG\r\n\x1a\npicture"):
        name = f"images/ab/{text.replace(' ', '-')}"
        path = lane.put(f"{name}-0.png", image)
        content = {
            "schema": "imagen.record/1",
            "prompt": text,
            "model": "m",
            "images": [path],
            "created_at": "2026-11-01T00:00:00+00:00",
        }
        lane.put(f"{name}.json", json.dumps(content))
        return path

    return make


@pytest.fixture
def opened(monkeypatch):
    """What is opened in a browser."""
    urls = []
    monkeypatch.setattr("webbrowser.open", lambda url: urls.append(url) or True)
    return urls


def bodies(lane, count):
    response = lane.subscriber.pull(
        subscription=lane.subscription("prompts"), max_messages=count, timeout=20
    )
    messages = [item.message for item in response.received_messages]
    assert len(messages) == count
    return messages


# publish


def test_publish_sends_the_text_as_it_is(run, lane):
    topic = f"{lane.name}-prompts"
    code, out, err = run("publish", "a 🦊 in the snow", "--topic", topic)
    assert (code, err) == (0, "")
    (message,) = bodies(lane, 1)
    assert message.data.decode() == "a 🦊 in the snow"
    assert out.splitlines() == [
        f"published 1 prompt to {lane.topic('prompts')}",
        f"message ID: {message.message_id}",
    ]


def test_publish_sends_every_parameter_and_attribute(run, lane):
    code, _, _ = run(
        *("publish", "a fox", "--topic", f"{lane.name}-prompts"),
        *("--id", "order-1", "--model", "flux-1", "--images", 2, "--aspect-ratio", "16:9"),
        *("--image-size", "2K", "--seed", 0, "--negative-prompt", "snow"),
        *("--attribute", "team=ads", "--attribute", "query=a=b"),
    )
    assert code == 0
    (message,) = bodies(lane, 1)
    assert json.loads(message.data) == {
        "prompt": "a fox",
        "id": "order-1",
        "model": "flux-1",
        "images": 2,
        "aspect_ratio": "16:9",
        "image_size": "2K",
        "seed": 0,
        "negative_prompt": "snow",
    }
    assert dict(message.attributes) == {"team": "ads", "query": "a=b"}


def test_publish_sends_the_prompts_of_a_file(run, lane, tmp_path):
    (tmp_path / "p.txt").write_text("a fox\nan owl\n")
    code, out, _ = run("publish", "--file", tmp_path / "p.txt", "--topic", f"{lane.name}-prompts")
    ids = [message.message_id for message in bodies(lane, 2)]
    assert (code, out.split()[1]) == (0, "2")
    assert out.splitlines()[1] == f"message IDs: {', '.join(sorted(ids, key=int))}"


def test_the_message_ids_of_many_prompts_are_not_listed(run, lane, tmp_path):
    (tmp_path / "p.txt").write_text("a fox\n" * 11)
    code, out, _ = run("publish", "--file", tmp_path / "p.txt", "--topic", f"{lane.name}-prompts")
    assert (code, out) == (0, f"published 11 prompts to {lane.topic('prompts')}\n")


# What each field's option is given; a test for a field that is not here fails.
GIVEN = {
    Kind.TEXT: ["x"],
    Kind.CHOICE: ["x"],
    Kind.INTEGER: ["1"],
    Kind.BOOLEAN: [],
    Kind.PATHS: ["gs://b/x.png"],
    Kind.VALUES: ["a=b"],
}


@pytest.mark.parametrize("field", FIELDS[1:], ids=lambda field: field.name)
def test_a_field_that_a_file_would_ignore_is_refused_by_name(cloud, capsys, tmp_path, field):
    (tmp_path / "p.txt").write_text("a fox\n")
    by_kind = {Kind.VALUES: "--var", Kind.PATHS: "--reference"}
    option = by_kind.get(field.kind, f"--{field.name.replace('_', '-')}")
    command = ["publish", "--file", str(tmp_path / "p.txt"), option, *GIVEN[field.kind]]
    if field.name == "template":
        assert cli.main([*command, "--topic", "no-such-topic"]) == 1
        assert "not allowed" not in capsys.readouterr().err
        return
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 2
    assert (
        f"error: not allowed with --file: {option}; say it in each row" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a fox", "--images", "9"], "field 'images': expected a whole number from 1 to 4, got 9"),
        (["a fox", "--seed=-1"], "field 'seed': expected a whole number from 0 to 2147483647"),
        (["a fox", "--id", "no id"], "field 'id': expected 1 to 128 characters"),
        (["a fox", "--output-quality", "9"], "field 'output_quality' is only for jpeg"),
        ([""], "field 'prompt' is empty"),
        (["--template", "No!"], "field 'template': expected a template's name"),
        (["--template", "studio", "--images", "9"], "field 'images': expected a whole number"),
        (["a fox", "--attribute", f"{CANARY_ATTRIBUTE}2=x", "--images", "9"], "field 'images'"),
    ],
)
def test_what_no_job_accepts_is_refused_before_it_is_published(run, lane, arguments, says):
    code, out, err = run("publish", *arguments, "--topic", f"{lane.name}-prompts")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: nothing was published: {says}")
    assert lane.nothing_left("prompts")


@pytest.mark.parametrize(
    "arguments",
    [
        ["a fox", "--model", "flux-1", "--negative-prompt", "snow"],
        ["a fox", "--negative-prompt", "snow"],
        ["a fox", "--thinking-level", "high"],
        ["a fox", "--aspect-ratio", "99:1"],
        ["a fox", "--reference", "gs://any-bucket/a.png"],
        ["--template", "studio", "--var", "product=a shoe"],
        ["a fox", "--var", "product=a shoe"],
    ],
)
def test_what_the_settings_of_a_job_decide_is_left_to_the_job(run, lane, arguments):
    assert run("publish", *arguments, "--topic", f"{lane.name}-prompts")[0] == 0


def test_a_file_with_a_bad_row_publishes_nothing_and_names_each(run, lane, tmp_path):
    (tmp_path / "p.csv").write_text("prompt,images\na fox,1\nan owl\nx,y,z\na hare,x\n,1\n")
    code, out, err = run("publish", "--file", tmp_path / "p.csv", "--topic", f"{lane.name}-prompts")
    assert (code, out) == (1, "")
    assert [one.partition("p.csv:")[2] or one for one in err.splitlines()] == [
        "3: expected 2 cells, got 1",
        "4: expected 2 cells, got 3",
        "5: field 'images': expected a whole number from 1 to 4, got 'x'",
        "6: field 'prompt' is empty",
        "error: nothing was published",
    ]
    assert lane.nothing_left("prompts")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["publish", "a fox", "--topic", "no-such-topic"],
            "topic projects/demo-project/topics/no-such-topic does not exist; create it, or name",
        ),
        (["publish", "--file", "gone.csv"], "gone.csv: does not exist; name a prompt file that"),
        (["publish", "--file", "tests"], "tests: is a folder; name the prompt files in it"),
        (
            ["publish", "--file", "gs://no-such-bucket/p.csv"],
            "gs://no-such-bucket/p.csv does not exist; name a prompt file that does",
        ),
        (
            ["publish", "a fox", "--attribute", "team"],
            "--attribute: expected NAME=VALUE, got 'team'",
        ),
        (
            ["publish", "caf\udce9"],
            "prompt: is not UTF-8 at character 3: 'caf\\udce9'; write it in a",
        ),
        (["publish", "a fox", "--id", "\udcff"], "id: is not UTF-8 at character 0"),
        (["publish", "a fox", "--attribute", "a=\udcff"], "attribute: is not UTF-8 at character 2"),
        (
            ["publish", "--file", "README.md"],
            "expected a file ending in .txt, .jsonl, .json, .csv",
        ),
        (
            ["watch", "--topics", "no-such-topic", "--seconds", "1"],
            "topic no-such-topic in demo-project does not exist; create it, or name one that",
        ),
        (["images", "--location", "gs://no-such-bucket/x"], "create it, or name one that exists"),
        (["images", "--location", "/tmp"], "expected gs://<bucket>/<folder>, got '/tmp'"),
        (
            ["open", "gs://no-such-bucket/x.png"],
            "gs://no-such-bucket/x.png does not exist; name an image that does, as images lists",
        ),
        (["erase", "--digest", "x"], "--digest: expected 32 hexadecimal digits, got 'x'"),
        (["put", "a*.txt"], "a*.txt: expected a name without * ? [ ] and without invisible"),
        (["put", "gone.txt"], "gone.txt: does not exist; name a prompt file that does"),
        (["estimate", "gone.txt"], "gone.txt: does not exist; name a prompt file that does"),
        (
            ["estimate", "gs://no-such-bucket/p.csv"],
            "gs://no-such-bucket/p.csv does not exist; name a prompt file that does",
        ),
        (["estimate", "p.txt", "--tier", "flex", "--model", "imagen-9"], "--tier: flex is only"),
        (["--project", "", "images"], "no project: pass --project, or set GOOGLE_CLOUD_PROJECT"),
        (["--project", "", "images"], "for stand-ins on this machine, type README.md's line with"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(run, arguments, says):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert says in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["publish"],
        ["publish", "a fox", "--file", "p.txt"],
        ["draw"],
        ["publish", "a", "--images", "two"],
        ["watch", "--topics", "predictions", "--subscription", "predictions-sub"],
        ["estimate"],
        ["estimate", "p.txt", "--call-seconds", "0"],
        ["put", "p.txt", "--day", "tomorrow"],
        ["erase", "--yes"],
        ["erase", "--prompt-id", "a", "--digest", "b"],
    ],
)
def test_a_wrong_command_line_prints_the_usage(cloud, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m beam_jobs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (["publish", "a fox"], "Pub/Sub"),
        (["publish", "--file", "gs://b-1/p.txt"], "Cloud Storage"),
        (["watch"], "Pub/Sub"),
        (["watch", "--subscription", "predictions-sub"], "Pub/Sub"),
        (["open", "gs://b-1/images/x.png"], "Cloud Storage"),
        (["sheet", "folder"], "Cloud Storage"),
        (["estimate", "gs://b-1/p.txt"], "Cloud Storage"),
        (["put", "PROMPTS"], "Cloud Storage"),
        (["erase", "--prompt-id", "order-1"], "Cloud Storage"),
    ],
)
def test_what_does_not_answer_is_named_in_time(run, monkeypatch, tmp_path, arguments, who):
    monkeypatch.setattr("beam_jobs.cli.asking.PATIENCE_S", 0.1)
    retry = storage_retry.DEFAULT_RETRY.with_timeout(0.1)
    monkeypatch.setitem(gallery.PATIENCE, "retry", retry)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    (tmp_path / "p.txt").write_text("a fox\n")
    given = [str(tmp_path / "p.txt") if word == "PROMPTS" else word for word in arguments]
    began = time.monotonic()
    code, out, err = run(*given)
    assert time.monotonic() - began < 5
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"error: {who} at ")
    assert " does not answer (" in last
    assert last.endswith("; check the address and the network, or start the stand-ins: make up")


# watch


def test_watch_prints_messages_until_the_count_is_reached(run, lane, eventually):
    outcome = Prediction(
        prompt_id="order-1",
        deduplication_key="0f" * 32,
        digest="d",
        prompt="a fox",
        images=("gs://b/1.png",),
        model="m",
        source="stream",
        reused=False,
        created_at="now",
        latency_ms=1500,
    )
    body, attributes = encode(outcome)

    def publish_when_watched():
        topic = lane.topic("predictions")
        eventually(lambda: len(list(lane.publisher.list_topic_subscriptions(topic=topic))) == 2)
        lane.publisher.publish(topic, body, **attributes).result(timeout=20)

    publishing = threading.Thread(target=publish_when_watched)
    publishing.start()
    code, out, err = run(
        *("watch", "--count", 1, "--seconds", 240, "--topics", f"{lane.name}-predictions")
    )
    publishing.join()
    assert code == 0
    assert out == "✓ a fox (1.5 s)\n  gs://b/1.png\n"
    assert err == f"watching {lane.name}-predictions in demo-project\n"


def test_watch_acknowledges_the_messages_of_a_subscription_that_it_prints(run, lane):
    outcome = Prediction(
        prompt_id="order-1",
        deduplication_key="0f" * 32,
        digest="d",
        prompt="a fox",
        images=("gs://b/1.png",),
        model="m",
        source="stream",
        reused=True,
        created_at="now",
        latency_ms=1,
    )
    body, attributes = encode(outcome)
    foreign = lane.publisher.publish(lane.topic("predictions"), b"not ours").result(timeout=20)
    lane.publisher.publish(lane.topic("predictions"), body, **attributes).result(timeout=20)
    name = f"{lane.name}-predictions-sub"
    code, out, err = run("watch", "--subscription", name, "--count", 1, "--seconds", 240)
    assert (code, out) == (0, "✓ a fox (reused)\n  gs://b/1.png\n")
    assert err.splitlines() == [
        f"consuming {name} in demo-project: each message is acknowledged once it is shown",
        f"message {foreign} is neither a prediction nor a dead letter; it stays in {name}",
    ]


def test_watch_ends_after_its_time(run, lane):
    name = f"{lane.name}-predictions-sub"
    assert run("watch", "--subscription", name, "--seconds", 0.5)[:2] == (0, "")


def test_a_missing_subscription_is_named_in_the_error(run):
    code, out, err = run("watch", "--subscription", "no-such-sub")
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "no-such-sub" in last
    assert last.endswith("create it, or name one that exists")


def test_a_message_that_watch_could_not_print_is_delivered_again(run, lane, monkeypatch):
    body, attributes = encode(
        Prediction(
            prompt_id="1",
            deduplication_key="0f" * 32,
            digest="d",
            prompt="a fox",
            images=(),
            model="m",
            source="stream",
            reused=True,
            created_at="now",
            latency_ms=1,
        )
    )
    lane.publisher.publish(lane.topic("predictions"), body, **attributes).result(timeout=20)

    def interrupted(message):
        raise KeyboardInterrupt

    monkeypatch.setattr("beam_jobs.cli.watch.describe", interrupted)
    code, out, _ = run("watch", "--subscription", f"{lane.name}-predictions-sub")
    assert (code, out) == (130, "")
    assert lane.predictions(1, within_s=30)[0]["prompt_id"] == "1"


# images


def test_images_lists_the_newest_with_their_prompts(run, lane, record):
    older, newer = record("a fox"), record("an  owl")
    code, out, _ = run("images", "--location", lane.images_location)
    assert code == 0
    assert out.splitlines() == [
        "2026-11-01T00:00:00+00:00  an owl",
        f"  {newer}",
        "2026-11-01T00:00:00+00:00  a fox",
        f"  {older}",
    ]
    _, out, _ = run("images", "--location", lane.images_location, "--limit", 1)
    assert out.splitlines()[1:] == [f"  {newer}"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"down": 1}, {"hang_rate": 1}])
def test_images_says_within_ten_seconds_that_storage_is_down_and_what_to_do(
    run, cloud, lane, settings
):
    cloud.storage(**settings)
    began = time.monotonic()
    code, out, err = run("images", "--location", lane.images_location)
    assert time.monotonic() - began < 10
    assert (code, out) == (1, "")
    address = cloud.environment["STORAGE_EMULATOR_HOST"]
    assert err.startswith(f"error: Cloud Storage at {address} does not answer (")
    assert err.endswith("; check the address and the network, or start the stand-ins: make up\n")


def test_images_says_that_a_location_has_none(run, lane):
    assert run("images", "--location", lane.images_location) == (
        0,
        f"no images in {lane.images_location}/\n",
        "",
    )


def test_the_newest_image_or_one_by_its_path_is_opened(run, lane, record, opened):
    older = record("a fox", b"\x89PNG\r\n\x1a\nolder")
    record("an owl", b"\x89PNG\r\n\x1a\nnewer")
    code, out, _ = run("open", "--location", lane.images_location)
    assert (code, Path(out.strip()).read_bytes()[8:]) == (0, b"newer")
    code, out, _ = run("open", older)
    assert (code, Path(out.strip()).read_bytes()[8:]) == (0, b"older")
    assert opened[1] == Path(out.strip()).as_uri()


def test_an_image_that_is_not_there_leaves_no_folder_behind(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("open", f"gs://{BUCKET}/images/gone.png")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser_the_path_of_the_image_is_printed(run, record, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    code, out, err = run("open", record("a fox"))
    assert (code, err) == (1, "error: no browser found; open that file yourself\n")
    assert Path(out.strip()).exists()


def test_a_sheet_is_written_and_opened_only_when_asked(run, lane, record, opened, tmp_path):
    record("a fox")
    sheet = tmp_path / "sheet"
    where = ["sheet", sheet, "--location", lane.images_location]
    assert run(*where) == (0, f"{sheet}/index.html\n", "")
    assert opened == []
    assert run(*where, "--open")[0] == 0
    assert opened == [(sheet / "index.html").as_uri()]


# estimate, put, erase


def test_an_estimate_needs_no_service_and_counts_duplicates_once(run, tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    prompts = tmp_path / "p.csv"
    prompts.write_text("prompt,images,image_size\na fox,1,2K\na fox,1,2K\nan owl,3,\n")
    code, out, err = run("estimate", prompts, "--requests-per-minute", 2)
    assert (code, err) == (0, "")
    first, model, cost, batch, pace = out.splitlines()
    assert first == "1 file: 3 prompts, 1 duplicate of them; 0 invalid rows"
    row = catalog.CATALOG[catalog.DEFAULT_MODEL]
    of_1k, of_2k = row.usd_per_image("1K"), row.usd_per_image("2K")
    usd = 3 * of_1k + of_2k
    by_batch, saved = (float(word) for word in re.findall(r"([\d.]+) USD", batch))
    assert batch.startswith("by batch inference: 3 images of these for ")
    assert by_batch == pytest.approx(3 * of_1k / 2, abs=0.02) == saved
    assert model.startswith(f"  {catalog.DEFAULT_MODEL}: 4 images, ")
    assert float(cost.split()[1]) == pytest.approx(usd, abs=0.02)
    assert pace.startswith("time: about 2:00 ")


def test_an_estimate_names_invalid_rows_and_models_without_a_price(run, tmp_path):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "a fox", "seed": "x"}\n{"prompt": "an owl"}\n')
    (tmp_path / "none.txt").write_text("")
    arguments = ("estimate", prompts, tmp_path / "none.txt", "--model", "gemini-99-image")
    code, out, _ = run(*arguments)
    assert code == 1
    assert "2 files: 1 prompt; 2 invalid rows" in out
    assert "gemini-99-image: 1 image, no known price" in out
    assert "cost: at least 0.00 USD" in out
    wrong, none = [line for line in out.splitlines() if line.startswith("invalid: ")]
    assert wrong.startswith(f"invalid: {prompts}:1: field 'seed'")
    assert none == f"invalid: {tmp_path}/none.txt: has no prompts"


def test_what_is_put_is_what_the_night_of_that_day_makes(run, tmp_path, lane, monkeypatch):
    monkeypatch.setattr("beam_jobs.cli.commands.put.night_folder", lambda day: f"{lane.name}/{day}")
    prompts = tmp_path / "p.txt"
    prompts.write_text("a fox\nan owl\n")
    put = ("put", prompts, "--bucket", BUCKET, "--day", "2026-11-01")
    code, out, _ = run(*put)
    assert (code, out.splitlines()) == (
        0,
        [
            f"gs://{BUCKET}/{lane.name}/2026-11-01/p.txt: 2 prompts",
            'that night is over: to make them, go to imagen_backfill and trigger it with {"day": '
            '"2026-11-01"}',
        ],
    )
    prompts.write_text("a hare\n")
    code, _, err = run(*put)
    assert code == 1
    assert err.endswith("is there already; pass --replace, or give your file another name\n")
    assert run(*put, "--replace")[0] == 0
    assert lane.objects("2026-11-01/") == {"2026-11-01/p.txt": b"a hare\n"}


def test_a_file_with_an_invalid_row_is_put_only_if_that_is_asked_for(run, tmp_path, lane):
    prompts = tmp_path / "p.csv"
    prompts.write_text("prompt,images\na fox,1\nx,y,z\nan owl,x\n,1\n")
    code, _, err = run("put", prompts, "--bucket", "no-such-bucket")
    assert code == 1
    assert [line.partition("p.csv:")[2] or line for line in err.splitlines()] == [
        "3: expected 2 cells, got 3",
        "4: field 'images': expected a whole number from 1 to 4, got 'x'",
        "5: field 'prompt' is empty",
        "error: nothing was put: correct these rows, or pass --anyway",
    ]
    assert "does not exist" in run("put", prompts, "--bucket", "no-such-bucket", "--anyway")[2]


FOX, OWL, HARE = "0f" * 16, "1e" * 16, "2d" * 16


@pytest.fixture
def traces(lane, monkeypatch):
    """What jobs and a replay have left of two senders: the sender acme sent a fox and an owl."""
    monkeypatch.setattr("beam_jobs.cli.erase.ARCHIVE_FOLDER", f"{lane.name}/dead-letters")

    def entry(prompt_id, digest, tenant=None):
        image = f"{lane.images_location}/{digest[:2]}/{digest}-0.png"
        attributes = {} if tenant is None else {"attributes": {"tenant": tenant}}
        return {"prompt_id": prompt_id, "images": [image], **attributes}

    def letter(prompt_id, tenant):
        return {"letter": {"prompt_id": prompt_id, "attributes": {"tenant": tenant}}}

    def lines(*entries):
        return "".join(f"{json.dumps(each)}\n" for each in entries)

    for digest in (FOX, OWL, HARE):
        image = lane.storage.bucket(BUCKET).blob(f"{lane.name}/images/{digest[:2]}/{digest}-0.png")
        image.metadata = {"prompt-id": "order-1", "prompt": "a fox"}
        image.upload_from_string(b"image")
        lane.put(f"images/{digest[:2]}/{digest}.json", b"{}")
        lane.put(f"images/{digest[:2]}/{digest}.claim", b"{}")
        lane.put(f"images/thumbnails/{digest[:2]}/{digest}-0.webp", b"thumbnail")
    lane.put(
        "images/recent/predictions/1.jsonl",
        lines(entry("order-1", FOX, "acme"), entry("order-2", HARE, "other")) + "no JSON\n",
    )
    lane.put("images/index/2026-11-01/1.jsonl", lines(entry(f"~{OWL}", OWL, "acme")))
    lane.put("images/recent/predictions/2.jsonl", lines(entry("order-3", OWL)))
    lane.put(
        "dead-letters/reason=BLOCKED/ds=2026-11-01/1.jsonl",
        lines(letter("order-4", "acme"), letter("order-5", "other")),
    )
    return lane.objects("")


def test_without_yes_nothing_is_erased_and_all_is_told(run, lane, traces):
    code, out, _ = run("erase", "--attribute", "tenant=acme", "--location", lane.images_location)
    assert code == 0
    first, *others = out.splitlines()
    assert first == (
        "2 images, 2 records, 2 thumbnails, 2 claims, 2 index entries, 1 archived dead letter"
    )
    assert f"  {lane.images_location}/0f/{FOX}-0.png" in others
    assert "1 other index entry of the same images: others have asked for the same" in out
    assert "1 index entry of an older version" in out
    assert "nothing was erased: pass --yes to do it" in others
    assert out.partition("out of reach:\n")[2].count("\n- ") >= 3
    assert lane.objects("") == traces


def test_a_senders_traces_are_erased_and_nobody_elses(run, lane, traces):
    where = ("--location", lane.images_location)
    assert run("erase", "--attribute", "tenant=acme", "--yes", *where)[0] == 0
    left = lane.objects("")
    assert not [name for name in left if FOX in name or OWL in name]
    assert len([name for name in left if HARE in name]) == 4
    assert "images/index/2026-11-01/1.jsonl" not in left
    kept = left["images/recent/predictions/1.jsonl"].decode().splitlines()
    assert [json.loads(kept[0])["prompt_id"], kept[1]] == ["order-2", "no JSON"]
    assert b"order-4" not in b"".join(left.values())
    assert b"order-5" in b"".join(left.values())
    again = run("erase", "--attribute", "tenant=acme", "--yes", *where)[1]
    assert again.startswith("0 images, 0 records, 0 thumbnails, 0 index entries, 0 archived")
    assert "nothing was found" in again
    assert "erased" not in again.splitlines()


def test_a_senders_refused_prompts_are_erased_from_the_index_that_jobs_write(run, lane):
    location = Location.parse(lane.images_location)
    for tenant in ("acme", "other"):
        body = f"a secret of {tenant}".encode()
        failure = Failure("order-1", "0f" * 32, Reason.BLOCKED, "refused", False, 1, body)
        record_outcome(dataclasses.replace(failure, attributes={"tenant": tenant}), location)
    flush(30)
    where = ("--location", lane.images_location)
    code, out, _ = run("erase", "--attribute", "tenant=acme", "--yes", *where)
    assert code == 0
    assert "1 index entry" in out.splitlines()[0]
    assert "of an older version" not in out
    left = b"".join(lane.objects("").values())
    assert b"a secret of acme" not in left
    assert b"a secret of other" in left


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (["--prompt-id", "order-1"], FOX),
        (["--prompt_id", f"~{OWL}"], OWL),
        (["--digest", HARE], HARE),
    ],
)
def test_one_prompt_is_erased_by_its_id_or_digest(run, lane, traces, arguments, gone):
    assert run("erase", *arguments, "--yes", "--location", lane.images_location)[0] == 0
    assert {name for name in traces if gone in name} == set(traces) - set(lane.objects("")) - {
        "images/index/2026-11-01/1.jsonl"
    }


@pytest.mark.slow
def test_the_module_runs_as_a_command_without_beams_options_in_the_way(lane):
    command = [sys.executable, "-m", "beam_jobs", "publish", "a fox"]
    done = subprocess.run(
        [*command, "--topic", f"{lane.name}-prompts"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (message,) = bodies(lane, 1)
    assert message.data == b"a fox"
