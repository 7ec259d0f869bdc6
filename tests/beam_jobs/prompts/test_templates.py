"""Prompt templates: what they are, what fills them, and what the values can't do."""

import json
from random import Random
from typing import Any

import pytest

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Parsed, Prompt, parse
from beam_jobs.prompts.rows import PromptFileReader
from beam_jobs.prompts.templates import PromptTemplate, TemplateError
from tests.beam_jobs.prompts.test_rows import opened

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset())
TEMPLATES = {
    "studio": b"A studio photo of {product} on {surface}\n",
    "winter": b"\xef\xbb\xbf{prompt}, in {{deep}} snow",
    "plain": b"A studio photo of a shoe on oak",
    "broken": b"A {product\nof {x}",
}


def find(name: str) -> PromptTemplate:
    if name not in TEMPLATES:
        raise TemplateError(f"template {name}: there is none")
    return PromptTemplate.parse(f"{name}@7", TEMPLATES[name])


def parsed(body: Any, default: str | None = None, attributes: Any = None) -> Parsed:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    defaults = PromptDefaults(DEFAULTS.model, DEFAULTS.allowed_models, template=default)
    return parse(data, attributes or {}, origin="1", defaults=defaults, find_template=find)


def prompt(body: Any, default: str | None = None) -> Prompt:
    result = parsed(body, default)
    assert isinstance(result, Prompt), result
    return result


def studio(**values: Any) -> dict[str, Any]:
    return {"template": "studio", "vars": values}


SHOE = studio(product="a shoe", surface="oak")


def test_the_digest_is_that_of_the_filled_text_and_the_key_that_of_the_answer():
    filled = prompt(SHOE)
    assert (filled.text, filled.template) == ("A studio photo of a shoe on oak", "studio@7")
    sent, other = prompt(filled.text), prompt({"template": "plain"})
    assert filled.digest == sent.digest == other.digest
    assert (sent.template, other.template) == (None, "plain@7")
    # Each of their predictions says another template.
    assert len({each.deduplication_key for each in (filled, sent, other)}) == 3
    assert filled.deduplication_key == prompt(SHOE).deduplication_key


@pytest.mark.parametrize("body", ["a fox", {"prompt": " a fox "}, {"prompt": "a fox", "vars": {}}])
def test_with_a_default_a_text_fills_the_variable_prompt(body):
    assert prompt(body, "winter").text == "a fox, in {deep} snow"
    assert prompt(SHOE, "winter").text == "A studio photo of a shoe on oak", "its own comes first"


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (3.0, "3"), (0.5, "0.5"), (10**30, f"1{'0' * 30}"), (" x ", "x")]
)
def test_values_are_texts_and_numbers(value, text):
    assert prompt(studio(product=value, surface="oak")).text == f"A studio photo of {text} on oak"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (studio(product="a shoe"), "template studio@7: no value for {surface}, which the template"),
        (studio(product="a shoe", surface=None), "no value for {surface}"),
        ({"template": "studio"}, "no value for {product}, {surface}"),
        (studio(product="a", surface="b", sruface="c"), "{sruface} is not used: the template has"),
        ({**SHOE, "prompt": "a fox"}, "template studio@7: {prompt} is not used"),
        ({"template": "plain", "vars": {"x": 1}}, "{x} is not used: the template has no variables"),
        (studio(product="", surface="b"), "variable {product} is empty, got ''"),
        (studio(product="nan", surface="b"), "variable {product} is empty, got 'nan'"),
        (studio(product=True, surface="b"), "variable {product}: expected a string or a number"),
        (studio(product=[1], surface="b"), "variable {product}: expected a string or a number"),
        (studio(product=float("inf"), surface="b"), "expected a string or a number, got inf"),
        ({"template": "studio", "vars": ["a"]}, "field 'vars': expected an object of names"),
        ({"template": "studio", "vars": {"a.b": 1}}, "field 'vars': expected names of letters"),
        ({"template": "studio", "vars": {"prompt": 1}}, "is that of the field prompt; set it"),
        ({"template": "../keys/x", "vars": {}}, "field 'template': expected a template's name"),
        ({"template": 7}, "field 'template': expected a template's name"),
        ({"template": ""}, "field 'template': expected a template's name"),
        ({"prompt": "a fox", "vars": {"x": 1}}, "field 'vars' is only for a template"),
        ({"prompt": None, "vars": {"x": 1}}, "field 'prompt': expected a string, got None"),
        ({"vars": {"x": 1}}, "field 'prompt' is missing"),
        (studio(product="x" * 8_000, surface="b"), "has 8,023 characters; the limit is 8,000"),
        (studio(product="a\x1b", surface="b"), "contains a terminal escape character"),
        (studio(product="\ud800", surface="b"), "lone surrogate"),
        ({"template": "studio", "var": {}}, "unknown field 'var'"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_does_not_fill_a_template_is_a_failure_that_names_it(body, expected):
    result = parsed(body)
    assert isinstance(result, Failure)
    assert expected in result.detail
    assert (result.reason, result.retryable) == (Reason.INVALID_PROMPT, False)


def test_a_prompt_whose_template_is_missing_or_broken_can_be_replayed_once_it_is_there():
    for name, said in (("new", "there is none"), ("broken", "template broken@7, line 1: expected")):
        result = parsed({"template": name})
        assert isinstance(result, Failure)
        assert said in result.detail
        assert (result.reason, result.retryable) == (Reason.INVALID_PROMPT, True)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (studio(product="a shoe"), "studio@7"),
        ({**SHOE, "images": 99}, "studio@7"),
        ({"template": "new"}, ""),
        ({"prompt": "a fox", "images": 99}, ""),
    ],
    ids=["not filled", "another field", "not there", "none"],
)
def test_a_failure_names_the_version_of_the_template_that_was_found(body, version):
    result = parsed(body)
    assert isinstance(result, Failure)
    assert result.template == version


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "{}",
        "{0}",
        "{a b}",
        "{a.b}",
        "{a[0]}",
        "{a!r}",
        "{a:>9}",
        "{a:{b}}",
        "{é}",
        "{a\n}",
    ],
)
def test_a_template_has_names_and_nothing_that_could_be_evaluated(text):
    with pytest.raises(TemplateError, match=r"template t@1, line 2: .*write {name} for a variable"):
        PromptTemplate.parse("t@1", b"first\n" + text.encode())


def test_a_template_is_a_text():
    with pytest.raises(TemplateError, match="not UTF-8 at byte 1"):
        PromptTemplate.parse("t@1", b"a\xe9b")
    with pytest.raises(TemplateError, match="is empty"):
        PromptTemplate.parse("t@1", b"\xef\xbb\xbf \n")


PIECES = [
    *("{", "}", "{{", "}}", "{product}", "{surface}", "{prompt}", "{0}", "{product.__class__}"),
    *("{product!r:>999999999}", "{{ 7*7 }}", "{% include '/etc/passwd' %}", "${product}", "%(x)s"),
    *("$(id)", "\\N{BULLET}", "\\u007b", "gs://b/keys/canary.json", "../", "\n", "\t", '"', "'"),
    *("狐", "ثعلب", "लोमड़ी", "🦊", "İ", "ﬃ", "e\u0301", "a fox", "null", "--model=x", "</prompt>"),
]


@pytest.mark.slow
def test_10_000_hostile_values_change_nothing_but_the_text():
    chance = Random(20)
    plain = prompt(SHOE)
    for number in range(10_000):
        size = 8_000 if number % 1_000 == 0 else chance.randint(1, 60)
        value = ("a" + "".join(chance.choices(PIECES, k=size // 3 + 1)))[: min(size, 7_900)].strip()
        result = prompt(studio(product=value, surface="oak"))
        assert result.text == f"A studio photo of {value} on oak"
        assert {**result.deciding, "prompt": ""} == {**plain.deciding, "prompt": ""}
        assert (result.template, result.attributes) == (plain.template, plain.attributes)


# Files


def rows(content: bytes, *, name: str = "p.csv", default: str | None = None) -> list[Parsed]:
    file = PromptFileReader(name, "backfill:x", templated=default is not None)
    return [
        row if isinstance(row, Failure) else parsed(row.body.decode(), default)
        for row in file.read(opened(content))
    ]


def texts(items: list[Parsed]) -> list[str]:
    return [
        item.text if isinstance(item, Prompt) else getattr(item, "detail", "") for item in items
    ]


def test_further_columns_of_a_csv_fill_the_template_that_a_column_names():
    content = b"template,product,surface,seed\nstudio,a shoe,oak,7\nstudio,,oak,\n,a shoe,oak,\n"
    first, missing, none = rows(content)
    assert isinstance(first, Prompt)
    assert (first.text, first.seed) == ("A studio photo of a shoe on oak", 7)
    assert texts([missing]) == [
        "template studio@7: no value for {product}, which the template needs"
    ]
    assert "field 'prompt' is missing" in texts([none])[0]


def test_with_a_default_a_csv_needs_neither_a_template_nor_a_prompt():
    content = b"product,surface\na shoe,oak\n"
    assert texts(rows(content, default="studio")) == ["A studio photo of a shoe on oak"]
    assert "no column 'prompt'" in texts(rows(content))[0]
    assert texts(rows(b"prompt\na fox\n", default="winter")) == ["a fox, in {deep} snow"]
    assert texts(rows(b"a fox\n", name="p.txt", default="winter")) == ["a fox, in {deep} snow"]


def test_headers_of_files_that_were_put_together_are_not_filled_in():
    content = b"product,surface\na,b\nProduct,Surface\n\xef\xbb\xbfsurface,product\nc,d\n"
    filled = ["A studio photo of a on b", "A studio photo of d on c"]
    assert texts(rows(content, default="studio")) == filled


@pytest.mark.parametrize(
    ("header", "default", "expected"),
    [
        (b"prompt,aspect_ration", None, "'aspect_ration' (did you mean aspect_ratio?); expected"),
        (b"prompt,surface", None, "others are for a template, which a column template or the opt"),
        (b"template,vars", None, "column 'vars': expected a field's name or that of one variable"),
        (b"product;surface", "studio", "column 'product;surface': expected a field's name"),
        (b"template,product,product", None, "a column name appears twice"),
    ],
)
def test_a_column_that_is_none_of_a_template_ends_the_file(header, default, expected):
    (only,) = rows(header + b"\na,b\n", default=default)
    assert expected in texts([only])[0]
