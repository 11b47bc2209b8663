"""A browser for the tests of a file."""

import pytest
from headless import Browser


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened
