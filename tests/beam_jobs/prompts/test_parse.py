"""Parsing prompts: their fields, their digests, and the failure of each bad prompt."""

import base64
import dataclasses
import json
import re
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.outcomes import MAX_ATTRIBUTES, REPLAYS_ATTRIBUTE, Failure, Reason
from beam_jobs.prompts.body import MAX_BODY_BYTES, is_blank
from beam_jobs.prompts.canary import Canary
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.field_values import MAX_ID_CHARS, MAX_PROMPT_CHARS, MAX_SEED
from beam_jobs.prompts.fields import FIELD_NAMES
from beam_jobs.prompts.identity import deduplication_key_of
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.structured import kind_of, stands_for_no_value
from tests.canaries import canary

GEMINI = "gemini-3.1-flash-image"
FLUX = "flux-1"
DEFAULTS = PromptDefaults(model=GEMINI, allowed_models=frozenset({GEMINI, FLUX}))


def parsed(body, attributes=None, *, origin="message-1", defaults=DEFAULTS):
    if isinstance(body, dict):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    return parse(data, attributes or {}, origin=origin, defaults=defaults)


def prompt(body, attributes=None, **others) -> Prompt:
    result = parsed(body, attributes, **others)
    assert isinstance(result, Prompt), result
    return result


def detail(body, attributes=None) -> str:
    result = parsed(body, attributes)
    assert isinstance(result, Failure), result
    assert result.reason is Reason.INVALID_PROMPT
    assert not result.retryable
    assert result.attempts == 0
    return result.detail


def fox(**fields) -> dict:
    return {"prompt": "a fox", **fields}


# What a job allows


LIMITED = dataclasses.replace(
    DEFAULTS, allowed_image_sizes=frozenset({"1K", "4K"}), max_images_per_prompt=2
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"model": "gemini-3-pro-image"},
            f"field 'model': expected one of {FLUX}, {GEMINI} (--allowed_models), "
            "got 'gemini-3-pro-image'",
        ),
        (
            {"image_size": "2K"},
            "field 'image_size': expected one of 1K, 4K (--allowed_image_sizes), got '2K'",
        ),
        (
            {"model": FLUX, "image_size": "4K"},
            "field 'image_size': expected one of 1K (--allowed_image_sizes), got '4K'",
        ),
        (
            {"images": 3},
            "field 'images': expected a whole number from 1 to 2 (--max_images_per_prompt), got 3",
        ),
    ],
)
def test_a_prompt_beyond_what_the_job_allows_says_what_it_allows_and_which_option_does(
    fields, expected
):
    result = parsed(fox(**fields), defaults=LIMITED)
    assert isinstance(result, Failure)
    assert (result.reason, result.detail) == (Reason.INVALID_PROMPT, expected)


@pytest.mark.parametrize("fields", [{}, {"image_size": "4K"}, {"images": 2}, {"model": FLUX}])
def test_a_prompt_within_them_has_the_digest_that_it_has_without_them(fields):
    limited = prompt(fox(**fields), defaults=LIMITED)
    assert limited.digest == prompt(fox(**fields)).digest


def test_without_a_size_that_is_both_offered_and_allowed_a_prompt_leaves_it_out():
    only_4k = dataclasses.replace(DEFAULTS, allowed_image_sizes=frozenset({"4K"}))
    assert prompt(fox(model=FLUX), defaults=only_4k).image_size is None
    result = parsed(fox(model=FLUX, image_size="1K"), defaults=only_4k)
    assert isinstance(result, Failure)
    assert "expected no value (--allowed_image_sizes), got '1K'" in result.detail


# Valid prompts


def test_a_plain_body_is_the_prompt_with_the_defaults():
    result = prompt("  a fox in the snow\n", {"team": "ads"})
    assert result.text == "a fox in the snow"
    assert (result.model, result.images) == (GEMINI, 1)
    assert (result.aspect_ratio, result.image_size) == (None, None)
    assert (result.seed, result.negative_prompt) == (None, None)
    assert result.prompt_id == f"~{result.digest}"
    assert (result.body, result.attributes) == (b"  a fox in the snow\n", {"team": "ads"})


def test_a_json_object_sets_every_field():
    result = prompt(
        {
            "prompt": "a fox",
            "id": "order-17/a",
            "model": FLUX,
            "images": 4,
            "aspect_ratio": "16:9",
            "image_size": "2K",
            "seed": 0,
            "negative_prompt": " snow ",
            "reuse": True,
        }
    )
    assert result.prompt_id == "order-17/a" != result.digest
    assert (result.model, result.images, result.seed) == (FLUX, 4, 0)
    assert (result.aspect_ratio, result.image_size) == ("16:9", "2K")
    assert result.negative_prompt == "snow"


def test_a_field_that_is_null_is_a_field_not_given():
    assert prompt(fox(**dict.fromkeys(FIELD_NAMES[1:]))).digest == prompt("a fox").digest


@pytest.mark.parametrize(
    "text",
    [
        "{a fox} in curly braces",
        "{a fox|an owl} in the snow",
        "{{red}} fox",
        "{",
        "{broken",
        "[oil painting] a fox",
        "[[snow]] a fox",
        "[1, 2",
        '"quoted"',
        "42",
        "prompt: a fox",
        "None of the foxes sleeps",
        "object of art [gold]",
        "a map [old] of the world",
        "data: a fox made of numbers",
        "Prompt (noun): a fox",
        "{red|blue} fox, {day|night}",
        "// a fox in two lines //",
        "seed=pod of a lotus, macro",
        "model: a woman with a fox",
        "(a fox:1.2), (snow:0.8)",
        "<lora:fox:0.8> a fox",
        "images of foxes: red, white\nmodel trains: blue",
        "[a:b:0.5] morph",
        "``` a fox in monospace",
        "ewoks",
        "eyJafjallajokull erupting at dawn",
        "id like a fox",
        'a fox saying {"prompt": 1}',
        "naïve 🦊 狐狸",
        "first line\nsecond line",
    ],
)
def test_text_that_only_resembles_json_is_a_prompt(text):
    assert prompt(text).text == text


@pytest.mark.parametrize(
    "body",
    [
        "{'prompt': 'a fox'}",
        "{'prompt': 'a fox', 'images': 2",
        "{ prompt: 'a fox' }",
        "{“prompt”: “a fox”}",
        '{\\"prompt\\": \\"a fox\\"}',
        '"{\\"prompt\\": \\"a fox\\"}"',
        'b\'{"prompt": "a fox"}\'',
        '\'{"prompt": "a fox"}\'',
        '[{"prompt": "a fox"}]',
        '["a fox", "an owl"]',
        "['a fox', 'an owl']",
        '["a fox',
        "[]",
        "[1, 2]",
        "[[1]]",
        "\ufeff[{'prompt': 'a fox'}]",
    ],
)
def test_what_was_meant_as_an_object_or_a_list_is_not_drawn_as_text(body):
    said = detail(body)
    assert said.startswith("body ")
    assert said.endswith(
        'send one JSON object per prompt, such as {"prompt": "a fox"}, or plain text'
    )


@pytest.mark.parametrize(
    "body",
    [
        *("[object Object]", "[object Promise]", "<Prompt object at 0x7f00aa>"),
        *("{prompt=a fox, id=fox-1}", "{ prompt = a fox }", "map[id:x prompt:a fox]"),
        *('{:prompt=>"a fox"}', '{"prompt"=>"a fox"}', '{:prompt "a fox"}', "&{Prompt:a fox ID:x}"),
        *('{Prompt: "a fox"}', '[{prompt: "x"}]', '%{prompt: "a fox"}', "Prompt[prompt=a fox]"),
        *("Prompt(prompt='a fox')", 'Prompt { prompt: "a fox" }', "RawPrompt(id='1', prompt='')"),
        *("OrderedDict([('prompt', 'a fox')])", "[('prompt', 'a fox')]"),
        *('a:1:{s:6:"prompt";s:5:"a fox";}', "Array\n(\n    [prompt] => a fox\n)"),
        *(
            base64.b64encode(json.dumps({"prompt": "a fox"}, indent=i).encode()).decode()
            for i in (None, 1)
        ),
        base64.b64encode(b"Any text of more than a few words, 12").decode(),
        *('```json\n{"prompt": "a fox"}\n```', '```\n[{"prompt": "a fox"}]\n```'),
        *('{\n// c\n"prompt": "a fox"}', '{ /* c */ "prompt": "a fox"}', '// c\n{"prompt": "a"}'),
        *(
            "{&quot;prompt&quot;:&quot;a fox&quot;}",
            "{&#34;prompt&#34;:",
            "%7B%22prompt%22%3A%22a%22%7D",
        ),
        *(
            'data: {"prompt": "a fox"}',
            "prompt=a+fox&id=x",
            "id=x&prompt=a+fox",
            "prompt=a fox&id=x",
        ),
        *("{`prompt`: `a fox`}", "{«prompt»: «a fox»}", '"prompt": "a fox",', 'prompt: "a fox"'),
        *("prompt: a fox\nid: x", "---\nprompt: a fox\nid: x", "<prompt>a fox</prompt>"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("unseen", ["", "\u200b", " \u2060", "ï»¿"], ids=ascii)
def test_a_printed_or_wrapped_object_is_not_drawn_in_a_body_or_a_field(body, unseen):
    assert "send one JSON object per prompt" in detail(unseen + body)
    assert detail({"prompt": unseen + body}).startswith("field 'prompt' holds ")


@pytest.mark.parametrize("unseen", ["\u200b", "\u2060", "ï»¿", "\u200e\ufeff "], ids=ascii)
def test_unseen_characters_before_an_object_do_not_hide_it(unseen):
    result = prompt(unseen + json.dumps(fox(id="x", images=2)))
    assert (result.text, result.prompt_id, result.images) == ("a fox", "x", 2)


@pytest.mark.parametrize(
    "inner",
    ['{"prompt": "a fox"}', "[1, 2]", "{}", '"{\\"prompt\\": 1}"', '["a fox"]', "{'prompt':"],
)
def test_a_second_layer_of_json_is_not_drawn(inner):
    assert "field 'prompt' holds JSON" in detail({"prompt": inner, "id": "x"})


@pytest.mark.parametrize(
    "text", ["null", "nan", "NaN", "None", "undefined", '""', "''", "<NA>", "N/A", "(null)", "nil"]
)
def test_a_word_for_no_value_is_no_prompt(text):
    assert detail(text) == f"field 'prompt' is empty: {text!a} stands for no value"
    assert "stands for no value" in detail({"prompt": f" {text} "})
    assert prompt(f"{text} of foxes").text == f"{text} of foxes"


@pytest.mark.parametrize(
    "part", ["/* */", "/*", "// \n", "{", "[ ", "prompt=", "prompt: \n", "a", "\\", "(", "\u200b"]
)
def test_no_text_takes_long_to_be_told_from_an_object(part):
    started = time.thread_time()
    parsed(part * (MAX_BODY_BYTES // len(part.encode())))
    assert time.thread_time() - started < 1


MARK = "\ufeff"


@pytest.mark.parametrize(
    "marked",
    [
        f"{MARK}a fox",
        f"{MARK}{MARK}a fox",
        f" {MARK} a fox{MARK}\n",
        f"a{MARK} fox",
        f'{MARK}{{"prompt": "a fox"}}',
        f' {MARK}\n{{"prompt": "a fox"}}',
        f'{{"prompt": "{MARK}a fox"}}',
        '{"prompt": "\\ufeffa fox"}',
    ],
    ids=ascii,
)
def test_a_byte_order_mark_is_never_part_of_a_prompt(marked):
    assert prompt(marked).text == "a fox"
    assert prompt(marked).digest == prompt("a fox").digest


def test_a_body_of_nothing_but_a_byte_order_mark_is_empty():
    assert detail(MARK) == "field 'prompt' is empty"


def test_the_fields_after_a_byte_order_mark_are_read():
    result = prompt(MARK + json.dumps(fox(id="bom-1", images=2)))
    assert (result.prompt_id, result.images) == ("bom-1", 2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["a fox", '{"prompt": "a fox"}'])
def test_text_in_another_encoding_is_refused(encoding, text):
    assert re.search("not UTF-8|NUL character", detail(text.encode(encoding)))


@pytest.mark.parametrize("text", ["a\u2028fox", "a\x85fox", "a\x0bfox", "a\x0cfox", "a\rfox"])
def test_odd_line_ends_within_a_text_stay(text):
    assert prompt(text).text == text


@pytest.mark.parametrize(
    "body",
    [
        *("\x01", "a\x7ffox", "\x1a", "\x05a fox\x12\x05fox-1", "\x1b$B@c$N\x1b(B"),
        *("\x1b[1ma fox\x1b[0m", "\x93a fox\x94", '{"prompt": "a\\u0008fox"}'),
    ],
    ids=ascii,
)
def test_a_control_character_is_named_with_its_place_and_never_drawn(body):
    assert re.search(
        r"field 'prompt' contains a .* character, U\+00.., at character \d", detail(body)
    )


def test_a_control_character_in_the_negative_prompt_is_refused_too():
    assert "field 'negative_prompt' contains" in detail(fox(model=FLUX, negative_prompt="a\x01b"))


@pytest.mark.parametrize(
    "text",
    ["\u200b", "\xad", "\u2800", "\u2060\u200d", "\ufe0f", "\u3164 \u115f", "\u0301"],
    ids=ascii,
)
def test_a_text_of_nothing_but_invisible_characters_is_empty(text):
    assert detail(text) == "field 'prompt' is empty"
    assert prompt(f"{text}a fox").text == f"{text}a fox"


# Whole numbers


@pytest.mark.parametrize(
    "spelling",
    ["42", "42.0", "42.", "042", " 42 ", "+42", "4.2e1", '"42"', '"42.0"', '"4.2e1"', "42.0000"],
)
def test_a_whole_number_is_read_in_every_common_spelling(spelling):
    """BigQuery exports INT64 as strings, pandas writes floats, spreadsheets both."""
    try:
        value = json.loads(spelling)
    except json.JSONDecodeError:
        value = spelling
    result = prompt(fox(seed=value))
    assert type(result.seed) is int
    assert result.digest == prompt(fox(seed=42)).digest
    assert prompt(fox(images="4")).images == 4


# Digests


@pytest.mark.parametrize(
    "other",
    [
        fox(),
        fox(id="mine"),
        fox(reuse=True),
        fox(images=1),
        fox(model=GEMINI),
        {"prompt": "  a fox \n"},
        "a fox\n",
    ],
    ids=str,
)
def test_what_does_not_decide_the_image_does_not_change_its_digest(other):
    assert prompt(other, {"team": "ads"}, origin="elsewhere").digest == prompt("a fox").digest


def test_the_order_of_the_keys_does_not_change_the_digest():
    fields = fox(images=2, seed=7, aspect_ratio="1:1")
    backwards = dict(reversed(fields.items()))
    assert prompt(backwards).digest == prompt(fields).digest


def test_each_field_that_decides_the_image_changes_its_digest():
    bodies = [
        fox(),
        {"prompt": "a Fox"},
        {"prompt": "a  fox"},
        fox(model=FLUX),
        fox(images=2),
        fox(aspect_ratio="16:9"),
        fox(image_size="2K"),
        fox(seed=0),
        fox(seed=1),
        fox(model=FLUX, negative_prompt="snow"),
    ]
    digests = {prompt(body).digest for body in bodies}
    assert len(digests) == len(bodies)
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)


def test_the_digest_is_the_same_in_every_release():
    # Images are stored under the digest. A change here means paying for every image again.
    assert prompt("a fox").digest == "eda3fac1b79df180e033479c3d68c761"


def test_the_default_model_decides_the_image_as_a_named_one_does():
    other = PromptDefaults(model=FLUX, allowed_models=frozenset({FLUX}))
    assert prompt("a fox", defaults=other).digest == prompt(fox(model=FLUX)).digest


def test_without_reuse_each_delivery_has_a_digest_of_its_own_and_keeps_it():
    first = prompt(fox(reuse=False), origin="message-1").digest
    assert first == prompt(fox(reuse=False), origin="message-1").digest
    assert first != prompt(fox(reuse=False), origin="message-2").digest
    assert first != prompt(fox()).digest


def test_without_reuse_the_senders_id_stands_for_the_delivery():
    first = prompt(fox(reuse=False, id="a"), origin="message-1").digest
    assert first == prompt(fox(reuse=False, id="a"), origin="message-2").digest
    assert first != prompt(fox(reuse=False, id="b"), origin="message-1").digest


# Invalid prompts


ILL_TYPED = {
    "prompt": [None, 1, True, ["a"], {"a": 1}, 1.5],
    "id": [1, "", "-a", "a b", "x" * (MAX_ID_CHARS + 1), "é", True, ["a"]],
    "model": ["gpt-image", "", 1, True, GEMINI.upper(), [GEMINI]],
    "images": [0, 5, -1, True, False, 1.5, "0", "5", "two", "", "1,0", "²", "1_0", [1], 10**30],
    "aspect_ratio": ["2:1", "16 : 9", "", 1.5, True],
    "image_size": ["1k", "8K", 1024, True],
    "seed": [
        *(-1, MAX_SEED + 1, MAX_SEED + 1.0, True, 1.5, 0.1, 10**400),
        *("-1", "1.5", "1e999", "1e-999", "9" * 39, "9" * 5000, "1.0.0", "0x1", "nan", "inf", "٣"),
    ],
    "negative_prompt": [1, True, ["snow"]],
    "reuse": [1, 0, "true", "false", []],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in ILL_TYPED.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_an_ill_typed_field_is_named_with_what_was_given(field, value):
    said = detail(fox(model=FLUX) | {field: value})
    assert said.startswith(f"field '{field}'")
    assert "expected" in said
    assert "got " in said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "field 'prompt' is empty"),
        (b" \n\t ", "field 'prompt' is empty"),
        ('{"prompt": "  "}', "field 'prompt' is empty"),
        (fox(model=FLUX, negative_prompt=" "), "field 'negative_prompt' is empty"),
        (b"a \xff fox", "body is not UTF-8: byte 0xff at offset 2"),
        ('{"prompt": "a"} {"prompt": "b"}', "Extra data at line 1, column 17"),
        (b"cut off \xf0\x9f\xa6", "body is not UTF-8: byte 0xf0 at offset 8"),
        ("x" * (MAX_PROMPT_CHARS + 1), "field 'prompt' has 8,001 characters; the limit is 8,000"),
        (
            fox(model=FLUX, negative_prompt="x" * (MAX_PROMPT_CHARS + 1)),
            "field 'negative_prompt' has 8,001 characters; the limit is 8,000",
        ),
        (b"x" * (MAX_BODY_BYTES + 1), "body has 262,145 bytes; the limit is 262,144"),
        (fox(style="noir"), "unknown field 'style'; expected one of prompt, id, model"),
        (fox(Images=2), "unknown field 'Images'"),
        ({"text": "a fox"}, "field 'prompt' is missing"),
        ("{}", "field 'prompt' is missing"),
        ('{"prompt": "a", "prompt": "b"}', "field 'prompt' appears twice"),
        ('{"prompt": "a", "x": {"y": 1, "y": 2}}', "field 'y' appears twice"),
        ('{"prompt": "a fox', "body starts like a JSON object or list but"),
        (
            '{"prompt": "a fox"} trailing',
            "body starts like a JSON object or list but",
        ),
        ('{"prompt": "a\nfox"}', "at line 1, column 14"),
        ('{"prompt": "\\ud83e fox"}', "field 'prompt' is not valid Unicode: lone surrogate"),
        (
            {"prompt": "a", "model": FLUX, "negative_prompt": "ab\udc00"},
            "field 'negative_prompt' is not valid Unicode: lone surrogate at character 2",
        ),
        ({"prompt": "a\x00fox"}, "field 'prompt' contains a NUL character"),
        (b"a\x00fox", "field 'prompt' contains a NUL character"),
        (
            '{"prompt": "a", "seed": ' + "9" * 5000 + "}",
            "body is JSON with a number that has too many digits",
        ),
        ('{"prompt": "a", "seed": NaN}', "field 'seed': expected a whole number"),
        ('{"prompt": "a", "seed": 1e999}', "field 'seed': expected a whole number"),
        ('{"prompt": "a", "seed": ' + "[" * 50_000, "JSON nested too deeply"),
        ('{"prompt": ' + '{"a":' * 50_000, "JSON nested too deeply"),
        (fox(negative_prompt="snow"), "field 'negative_prompt': gemini-3.1-flash-image does not"),
        (fox(model=FLUX, aspect_ratio="21:9"), "field 'aspect_ratio': expected one of 1:1, 3:4"),
        (
            fox(model=FLUX, image_size="4K"),
            "field 'image_size': expected one of 1K, 2K, which flux-1 makes, got '4K'",
        ),
        (fox(output_quality=80), "field 'output_quality' is only for jpeg; set output_format"),
        (
            fox(model=FLUX, thinking_level="high"),
            "field 'thinking_level': flux-1 does not have it; remove the field, got 'high'",
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_failure_of_a_bad_body_says_what_is_wrong(body, expected):
    assert expected in detail(body)


@pytest.mark.parametrize("field", ["prompt", "seed", "style"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_depth_of_nesting_raises(field, opening, closing):
    for depth in range(880, 1010):
        value = opening * depth + "1" + closing * depth
        fields = (
            f'"{field}": {value}' if field == "prompt" else f'"prompt": "a", "{field}": {value}'
        )
        assert isinstance(parsed("{" + fields + "}"), Failure)


def test_the_largest_allowed_body_is_accepted():
    assert len(prompt("x" * MAX_PROMPT_CHARS).text) == MAX_PROMPT_CHARS
    assert len(prompt(fox(id="x" * MAX_ID_CHARS)).prompt_id) == MAX_ID_CHARS
    assert prompt(fox(seed=MAX_SEED)).seed == MAX_SEED
    escaped = "".join(
        f"\\u{unit:04x}" for _ in range(MAX_PROMPT_CHARS) for unit in (0xD83E, 0xDD8A)
    )
    assert prompt('{"prompt": "' + escaped + '"}').text == "🦊" * MAX_PROMPT_CHARS


def test_thousands_of_fields_are_refused_at_once():
    names = [f'"{number:x}":1' for number in range(25_000)]
    started = time.thread_time()
    assert "appears twice" in detail("{" + ",".join([*names, names[-1]]) + "}")
    assert "unknown field" in detail('{"prompt":"a",' + ",".join(names) + "}")
    assert time.thread_time() - started < 2


def test_a_failure_keeps_the_message_for_replay_and_is_named_after_its_delivery():
    attributes = {"team": "ads", "prompt_id": "theirs"}
    failure = parse(
        b"{}",
        attributes,
        origin="gs://b/f.csv:3",
        defaults=PromptDefaults(GEMINI, frozenset(), source="backfill:x"),
    )
    assert isinstance(failure, Failure)
    assert (failure.body, failure.attributes) == (b"{}", attributes)
    assert (failure.prompt_id, failure.source) == ("~gs://b/f.csv:3", "backfill:x")


def test_rows_of_a_file_with_a_very_long_path_have_failures_of_their_own():
    path = "gs://bucket/" + "folder/" * 60 + "prompts.txt"
    ids = {parsed(b"", origin=f"{path}:{line}").prompt_id for line in range(1, 20)}
    assert len(ids) == 19
    assert all(len(one) <= 200 for one in ids)


# Attributes


def test_attributes_are_forwarded_except_reserved_ones_and_googles():
    attributes = {
        "team": "ads",
        "prompt_id": "x",
        "deduplication_key": "x",
        "source": "x",
        "reason": "x",
        "retryable": "x",
        "googclient_schemaencoding": "JSON",
        "goog": "x",
        "Google": "kept",
    }
    assert prompt("a fox", attributes).attributes == {"team": "ads", "Google": "kept"}


def many(count: int) -> dict[str, str]:
    return {f"key{number}": "value" for number in range(count)}


def test_the_maximum_of_attributes_is_forwarded_and_one_more_is_refused():
    assert len(prompt("a fox", many(MAX_ATTRIBUTES)).attributes) == MAX_ATTRIBUTES
    assert "message has 96 attributes; the limit is 95" in detail("a fox", many(MAX_ATTRIBUTES + 1))
    assert prompt("a fox", {**many(MAX_ATTRIBUTES), "goog1": "dropped", "source": "dropped"})


def test_an_accepted_prompt_is_accepted_again_when_it_is_replayed():
    attributes = {**many(MAX_ATTRIBUTES), REPLAYS_ATTRIBUTE: "1"}
    assert prompt("a fox", attributes).attributes == attributes


@pytest.mark.parametrize("value", ["probe-1", "", "x" * 300, "a" * 32])
def test_a_message_that_claims_to_be_a_canary_is_refused_whatever_its_body(value):
    for body in (b"", b"\xff", b'{"prompt": 1}', b"a fox"):
        assert "remove the attribute" in detail(body, {"canary": value, "source": "x"})
        assert "remove the attribute" in detail(body, {"canary": value, **many(MAX_ATTRIBUTES)})


def test_a_signed_canary_goes_on_with_nothing_but_its_name():
    checked = []
    found = parse(
        b"",
        {**canary("a" * 32), "team": "ads"},
        origin="message-1",
        defaults=DEFAULTS,
        check_canary=lambda *given: checked.append(given),
    )
    assert isinstance(found, Canary)
    assert (found.prompt_id, found.attributes) == (f"~canary:{'a' * 32}", {"canary": "a" * 32})
    assert checked == [tuple(canary("a" * 32).values())]


def test_a_signed_canary_with_a_body_is_refused():
    found = parse(
        b"a fox", canary(), origin="1", defaults=DEFAULTS, check_canary=lambda *given: None
    )
    assert isinstance(found, Failure)
    assert "on a message with a body" in found.detail


# What consumers deduplicate on


def key(body, attributes=None, **others) -> str:
    return parsed(body, attributes, **others).deduplication_key


def test_whatever_has_the_same_key_has_the_same_answer():
    assert key("a fox") == key(" a fox ", origin="another") == key(fox(images=1))
    keys = [
        key("a fox"),
        key("an owl"),
        key(fox(id="order-7")),
        key({"prompt": "an owl", "id": "order-7"}),
        key(fox(id="order-7", images=2)),
        key("a fox", {"team": "ads"}),
        key("a fox", {"team": "ops"}),
        key("a fox", {"tea": "mads"}),
        key(fox(reuse=False)),
        key(fox(reuse=False), origin="another"),
        key(b"\xff"),
        key(b"\xff", origin="another"),
        key(b"\xfe"),
    ]
    assert len({*keys}) == len(keys)


def test_a_decoy_with_the_id_of_somebody_elses_prompt_takes_neither_its_id_nor_its_key():
    victim = prompt("a fox")
    assert "'id': expected" in detail({"prompt": "a decoy", "id": victim.prompt_id})
    decoy = prompt({"prompt": "a decoy", "id": victim.digest})
    assert decoy.prompt_id != victim.prompt_id
    assert decoy.deduplication_key != victim.deduplication_key


@pytest.mark.parametrize("body", ["a fox", fox(id="x"), fox(id="x", reuse=False), b"\xff"])
def test_a_redelivery_and_a_replay_have_the_key_of_the_first_delivery(body):
    attributes = {"team": "ads", "googclient_x": "1", "source": "theirs"}
    first = key(body, attributes)
    assert key(body, attributes) == first
    if body != b"\xff":  # which nobody replays: it can't succeed
        assert key(body, {**attributes, REPLAYS_ATTRIBUTE: "2"}, origin="another") == first


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_so_many_pairs_of_ids_and_texts_have_so_many_keys(count):
    """A tenth have a namesake: the same letters, divided elsewhere into id and text."""
    random = Random(7)
    pairs = set()
    while len(pairs) < count:
        letters = "".join(random.choices("a1/:=", k=random.randint(4, 14)))
        at = random.randint(1, len(letters) - 1)
        pairs.add((letters[:at], letters[at:]))
    keys = {deduplication_key_of(given, {}, text) for given, text in pairs}
    assert len(keys) == len(pairs)
    some = [*pairs][: count // 10]
    assert len({deduplication_key_of("x", {name: text}, "") for name, text in some}) == len(some)


# Any input

_texts = st.text(max_size=40)
_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | st.floats()
    | _texts
    | st.sampled_from(["1:1", "16:9", "1K", "2K", GEMINI, FLUX]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(st.sampled_from(FIELD_NAMES) | _texts, _json_values, max_size=5)
_bodies = (
    st.binary(max_size=200)
    | _texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | _objects.map(lambda fields: json.dumps(fields).encode())
    | st.tuples(_objects, _texts).map(
        lambda pair: json.dumps({**pair[0], "prompt": pair[1]}).encode()
    )
    | st.tuples(_objects, st.integers(0, 200)).map(lambda p: json.dumps(p[0]).encode()[: p[1]])
)
_attributes = st.dictionaries(st.sampled_from(["canary", "source", "googx"]) | _texts, _texts)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(body=_bodies, attributes=_attributes, origin=_texts)
def test_parse_never_raises_and_keeps_the_body(body, attributes, origin):
    result = parse(body, attributes, origin=origin, defaults=DEFAULTS)
    assert isinstance(result, Prompt | Canary | Failure)
    assert result.body == body
    assert not isinstance(result, Canary)
    assert isinstance(result, Failure) or "canary" not in attributes
    if isinstance(result, Failure):
        assert result.reason is Reason.INVALID_PROMPT
        assert result.detail
        assert result.detail.encode("utf-8"), "a detail that cannot be published"


_good = st.fixed_dictionaries(
    {
        "prompt": st.text(
            st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Me"]), min_size=1
        )
    },
    optional={
        "id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,20}", fullmatch=True),
        "model": st.sampled_from([GEMINI, FLUX]),
        "images": st.integers(1, 4),
        "aspect_ratio": st.sampled_from(["1:1", "3:4", "16:9"]),
        "image_size": st.sampled_from(["1K", "2K"]),
        "seed": st.integers(0, MAX_SEED),
        "reuse": st.booleans(),
    },
).filter(
    lambda fields: (
        not is_blank(text := fields["prompt"])
        and kind_of(text.strip()) is None
        and not stands_for_no_value(text.strip())
    )
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(fields=_good, ascii_only=st.booleans())
def test_an_accepted_prompt_written_as_json_again_has_the_same_digest(fields, ascii_only):
    first = prompt(fields)
    again = {
        "prompt": first.text,
        "model": first.model,
        "images": first.images,
        "aspect_ratio": first.aspect_ratio,
        "image_size": first.image_size,
        "seed": first.seed,
        "id": None if first.prompt_id == f"~{first.digest}" else first.prompt_id,
        "reuse": fields.get("reuse"),
    }
    body = json.dumps(again, ensure_ascii=ascii_only, indent=2, sort_keys=True)
    second = prompt(body)
    assert (second.digest, second.prompt_id) == (first.digest, first.prompt_id)
