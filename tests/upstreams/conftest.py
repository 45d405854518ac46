"""What tests of several upstreams share."""

import pytest
import torch
from helpers.hubert import SAMPLES
from torch import Tensor


@pytest.fixture(scope="session")
def clips() -> list[Tensor]:
    """Noise that swells, on a hum: a statistic taken over too much of it is a wrong one."""
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randn(n, generator=draw) * torch.linspace(0.01, 0.3, n)
        + 0.1 * torch.sin(torch.arange(n) * 0.05)
        for n in SAMPLES
    ]
