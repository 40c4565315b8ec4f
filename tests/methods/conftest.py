import pytest

from tests.helpers.tiny import make_model


@pytest.fixture
def model():
    """A tiny frozen backbone's model."""
    return make_model().eval().requires_grad_(False)
