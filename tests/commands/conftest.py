"""What tests of several verbs share."""

import pytest
from helpers import TOY
from helpers.students import train


@pytest.fixture(scope="session")
def straight(speech, tmp_path_factory):
    """The weights of an undisturbed training with a teacher."""
    return train(speech, tmp_path_factory.mktemp("straight"), teacher=TOY)
