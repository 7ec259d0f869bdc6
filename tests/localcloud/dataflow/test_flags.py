"""The flags that a launch's environment becomes."""

import pytest

from localcloud.dataflow.flags import _CHOICES, flags_of
from localcloud.dataflow.schema import _schemas

ENVIRONMENT = "FlexTemplateRuntimeEnvironment"


@pytest.mark.parametrize("field", _CHOICES)
def test_every_choice_is_one_that_the_api_describes(field: str) -> None:
    described = _schemas()[ENVIRONMENT]["properties"][field]["enum"]
    assert set(_CHOICES[field]) <= set(described)


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [(field, *choice) for field, choices in _CHOICES.items() for choice in choices.items()],
)
def test_a_choice_becomes_its_flag(field: str, value: str, flag: str) -> None:
    assert flags_of({field: value}) == [flag]
