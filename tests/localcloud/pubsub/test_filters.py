"""The filter language, without a server."""

import pytest

from localcloud.pubsub.errors import PubSubError, Status
from localcloud.pubsub.filters import compile_filter


@pytest.mark.parametrize(
    ("text", "attributes", "passes"),
    [
        ("", {}, True),
        ("   ", {"a": "1"}, True),
        ("attributes:a", {"a": ""}, True),
        ("attributes:a", {"b": "1"}, False),
        ("NOT attributes:canary", {"canary": "1"}, False),
        ("-attributes:canary", {}, True),
        ('attributes.a = "1"', {"a": "1"}, True),
        ('attributes.a = "1"', {"a": "2"}, False),
        ('attributes.a = "1"', {}, False),
        ('attributes.a = ""', {}, False),
        ('attributes.a != "1"', {}, True),
        ('attributes.a != "1"', {"a": "1"}, False),
        ('hasPrefix(attributes.a, "im")', {"a": "image"}, True),
        ('hasPrefix(attributes.a, "")', {}, False),
        ("attributes:a AND attributes:b AND attributes:c", {"a": "", "b": "", "c": ""}, True),
        ("attributes:a AND attributes:b", {"a": ""}, False),
        ("attributes:a OR attributes:b", {"b": ""}, True),
        ("NOT attributes:a OR attributes:b", {"a": "", "b": ""}, True),
        ("NOT (attributes:a OR attributes:b)", {"a": "", "b": ""}, False),
        ("(attributes:a AND attributes:b) OR attributes:c", {"c": ""}, True),
        ("attributes:a AND (attributes:b OR attributes:c)", {"c": ""}, False),
        ('attributes:"iana.org/language_tag"', {"iana.org/language_tag": "en"}, True),
        ('attributes."a b" = "é"', {"a b": "é"}, True),
        (r'attributes.a = "say \"hi\"\\ \u00e9\x41\101\n"', {"a": 'say "hi"\\ éAA\n'}, True),
        ("attributes:ce-type", {"ce-type": ""}, True),
        ("attributes:Canary", {"canary": ""}, False),
        ("attributes:ANDROID", {"ANDROID": ""}, True),
        ("  attributes : a  \n AND\tattributes : b ", {"a": "", "b": ""}, True),
    ],
)
def test_a_filter_means_what_is_documented(
    text: str, attributes: dict[str, str], passes: bool
) -> None:
    assert compile_filter(text)(attributes) is passes


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("bogus", 1, "attributes"),
        ("attributes", 11, "attributes:key"),
        ("attributes:", 12, "key"),
        ("attributes.a = b", 16, "double quotes"),
        ("attributes.a = 'b'", 16, "string"),
        ('attributes.a > "b"', 14, "one of"),
        ('attributes.a = "b', 16, "string"),
        ("attributes:a AND", 17, "attributes"),
        ("attributes:a attributes:b", 14, "AND, OR"),
        ("attributes:a and attributes:b", 14, "AND, OR"),
        ("attributes:a AND attributes:b OR attributes:c", 31, "parentheses"),
        ("(attributes:a", 14, "')'"),
        ("attributes:a)", 13, "end"),
        ("NOT NOT attributes:a", 5, "attributes"),
        ('hasPrefix(attributes:a, "b")', 21, "'.'"),
        (r'attributes.a = "\q"', 17, "escape"),
        (r'attributes.a = "\Uffffffff"', 17, "escape"),
        ("attributes:é", 12, "word"),
    ],
)
def test_a_refusal_shows_where_the_filter_goes_wrong(text: str, at: int, expected: str) -> None:
    with pytest.raises(PubSubError) as refusal:
        compile_filter(text)
    assert refusal.value.status is Status.INVALID_ARGUMENT
    said, shown, arrow = refusal.value.message.split("\n")
    assert f"at character {at}:" in said
    assert expected in said
    assert shown == f"  {text}"
    assert arrow.index("^") == at + 1


def test_a_filter_of_more_than_256_bytes_is_refused() -> None:
    compile_filter(f'attributes.a = "{"x" * 239}"')
    with pytest.raises(PubSubError, match="257 bytes"):
        compile_filter(f'attributes.a = "{"x" * 240}"')
