"""A million messages and rows that nobody in their senses would send."""

import base64
import gzip
import io
import json
import random
from collections import Counter

import pytest

from beam_jobs.outcomes import MAX_ATTRIBUTES, Failure, Reason, encode
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.fields import FIELD_NAMES
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.rows import SUFFIXES, PromptFileReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GEMINI, FLUX = "gemini-3.1-flash-image", "flux-1"
DEFAULTS = PromptDefaults(model=GEMINI, allowed_models=frozenset({GEMINI, FLUX}))
SEEDS = [
    b"a fox in the snow",
    "雪の中の柴犬 🐕".encode(),
    b'{"prompt": "a fox", "images": 2, "aspect_ratio": "16:9", "id": "order-7", "seed": 1}',
    b'{"prompt": "a fox", "model": "flux-1", "negative_prompt": "dogs", "reuse": false}',
    b'{"prompt": "\\ud83d\\ude00 \\u0000", "image_size": "2K"}',
    b'{"prompt": ["a"], "images": 1e309}',
    b'{"prompt": "a"} {"prompt": "b"}',
    b'{"prompt": "x", "prompt": "y"}',
]
ODD = [
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"NaN",
    b"Infinity",
    b"9" * 5000,
    b"1e400",
    b"[" * 3000,
    b'{"a":' * 300,
    b'"',
    b"\\",
    b"\r\n",
    b"\n",
    b",",
    b"\xef\xbb\xbf",
    b"../../etc/passwd",
    b"gs://other/x",
    b"fault:blocked",
    b"\xe2\x80\xae",
]
# The canary's is rare: nothing is parsed of a message that has it, and it is refused.
KEYS = ["canary", *["googclient_x", "team", "replays", "source", "", "\ud7ff"] * 4]
VALUES = [None, True, -1, 0, 1, 4, 5, 2**31, 1.5, "", " ", "16:9", "2K", GEMINI, "x" * 9000, [], {}]


def body_of(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        names = chance.sample([*FIELD_NAMES, "imges", "", "Prompt"], chance.randint(1, 5))
        fields = {name: chance.choice(VALUES) for name in names}
        if chance.random() < 0.8:
            fields["prompt"] = chance.choice(["a fox", "x" * 8000, "x" * 8001, " ", "\x00"])
        return json.dumps(fields, ensure_ascii=chance.random() < 0.5).encode()
    body = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(0, 4)):
        at = chance.randint(0, len(body))
        match chance.randrange(4):
            case 0:
                body[at:at] = chance.choice(ODD)
            case 1:
                del body[at : at + chance.randint(1, 10)]
            case 2:
                body[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                body[at:at] = body[: chance.randint(0, len(body))]
    return bytes(body)


def attributes_of(chance: random.Random) -> dict[str, str]:
    kept = {}
    for _ in range(chance.choice([0, 0, 1, 3, MAX_ATTRIBUTES + 2])):
        key = chance.choice(KEYS)
        kept[key + str(chance.randrange(100)) * chance.randint(0, 1)] = "v" * chance.choice(
            [0, 1, 40, 1100]
        )
    return kept


def check(body: bytes, attributes: dict[str, str], origin: str) -> str:
    """See that a message has become something that goes on; what it was."""
    found = parse(body, attributes, origin=origin, defaults=DEFAULTS)
    assert found.body == body
    if isinstance(found, Failure):
        assert found.reason is Reason.INVALID_PROMPT
        message, told = encode(found)
        again = json.loads(message)
        assert base64.b64decode(again["body"]) == body
        assert again["detail"]
        assert all(isinstance(value, str) for value in told.values())
        return "failure"
    assert isinstance(found, Prompt)
    # What was accepted says the same when it is written down and read again.
    fields = {
        "prompt": found.text,
        "model": found.model,
        "images": found.images,
        "aspect_ratio": found.aspect_ratio,
        "image_size": found.image_size,
        "seed": found.seed,
        "negative_prompt": found.negative_prompt,
        "system_instruction": found.system_instruction,
        "thinking_level": found.thinking_level,
        "person_generation": found.person_generation,
        "output_format": found.output_format,
        "output_quality": found.output_quality,
    }
    text = json.dumps({name: value for name, value in fields.items() if value is not None})
    again = parse(text.encode(), attributes, origin=origin, defaults=DEFAULTS)
    assert isinstance(again, Prompt), again
    same = (found.text, found.model, found.images, found.seed, found.negative_prompt)
    assert same == (again.text, again.model, again.images, again.seed, again.negative_prompt)
    if b"reuse" not in body:
        assert found.digest == again.digest
    assert found.digest.isalnum()
    return "prompt"


def test_a_million_messages_raise_nothing_and_what_is_accepted_round_trips(faults):
    count, became = faults.many(1_000_000), Counter()
    for number in range(count):
        body, attributes = body_of(faults.chance), attributes_of(faults.chance)
        try:
            became[check(body, attributes, f"message-{number}")] += 1
        except Exception as error:
            pytest.fail(f"message {number}: {body!r} with {attributes!r}: {error!r}")
    faults.row(
        "parser: fuzzed bodies and attributes",
        f"{count:,}: " + ", ".join(f"{n:,} {what}" for what, n in sorted(became.items())),
    )
    assert became["prompt"] > count / 10, "a fuzzer that is always refused finds nothing"
    assert became["failure"] > count / 10


def test_a_hundred_thousand_rows_of_odd_files_raise_nothing(faults):
    rows, became, files = faults.many(100_000), Counter(), 0
    while sum(became.values()) < rows:
        chance = faults.chance
        content = chance.choice([b"", b"prompt,images\n", b"prompt\n", b'{"prompt": "x"}\n'])
        content += chance.choice([b"\n", b"\r\n", b",1\n", b",--1\n"]).join(
            body_of(chance) for _ in range(chance.randint(1, 40))
        )
        name = f"gs://b/{files}{chance.choice([*SUFFIXES, '.md'])}"
        if chance.random() < 0.3:
            name += ".gz"
            content = gzip.compress(content, 1)
            if chance.random() < 0.5:
                at = chance.randrange(len(content))
                content = content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
        file = PromptFileReader(name, "backfill:x")
        try:
            for row in file.read(lambda content=content: io.BytesIO(content)):
                if isinstance(row, RawPrompt):
                    became[check(row.body, dict(row.attributes), row.origin)] += 1
                else:
                    # Not a storage error, which would say that the reader itself has failed.
                    assert row.reason is Reason.INVALID_PROMPT, row.detail
                    encode(row)
                    became["failure"] += 1
        except Exception as error:
            pytest.fail(f"{name}: {content!r}: {error!r}")
        files += 1
    faults.row(
        "parser: fuzzed rows of files",
        f"{files:,} files: " + ", ".join(f"{n:,} {what}" for what, n in sorted(became.items())),
    )
    assert became["prompt"] > 0
