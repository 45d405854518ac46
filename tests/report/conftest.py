"""What tests of rows share."""

import numpy as np
import pytest
from helpers.rows import kept


@pytest.fixture
def folder(tmp_path):
    """Two rows; the first is to be damaged."""
    rng = np.random.default_rng(0)
    for exit in ("depth 6", "full"):
        kept(tmp_path / "r", 2 + rng.random(20), exit=exit)
    return tmp_path / "r"
