import pytest

from imagen_ops.health.assessment import formatting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.25, "0.2 s"),
        (45.9, "45 s"),
        (60, "1 min"),
        (301, "5 min 1 s"),
        (720, "12 min"),
        (3600, "1 h"),
        (12_030, "3 h 20 min"),
        (86_400 * 2 + 3600 * 4 + 59, "2 d 4 h"),
        (1e300, "over 10,000 d"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_numbers_are_grouped_and_long_quotes_cut() -> None:
    assert formatting.count(3400, "message") == "3,400 messages"
    assert formatting.count(1, "message") == "1 message"
    assert formatting.percentage(0.1234) == "12.3%"
    assert formatting.quote("a\n b  c") == "a b c"
    assert len(formatting.quote("x" * 999)) == 300
