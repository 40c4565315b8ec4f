"""What a file says, read into types; what is wrong with it, in one line."""

import pytest
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from astmoa.files.typed import STRICT, checked


class Point(TypedDict):
    __pydantic_config__ = STRICT
    size: int
    accuracies: list[float]


KIND = TypeAdapter(Point)


def test_what_is_right_comes_back_with_what_is_not_known_of():
    value = {"size": 1, "accuracies": [0.5, 1], "later": {"any": None}}
    assert checked(KIND, value) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": "1", "accuracies": []}, "size: Input should be a valid integer"),
        ({"size": True, "accuracies": []}, "size: Input should be a valid integer"),
        ({"size": 1, "accuracies": [0.5, float("nan")]}, "accuracies.1: Input should be a finite number"),
        ({"size": 1, "accuracies": [10**400]}, "accuracies.0: Input should be a valid number"),
        ({"size": 1}, "accuracies: Field required"),
        (None, "Input should be a valid dictionary"),
    ],
)
def test_the_first_thing_wrong_is_named_with_its_place(value, message):
    with pytest.raises(ValueError, match="^" + message):
        checked(KIND, value)
