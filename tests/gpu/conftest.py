"""A device that is held against the CPU, and what runs there hear."""

import os

import pytest
import torch
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import items_of, sounds

LENGTHS = (16_000, 9_000, 12_345)


@pytest.fixture(scope="session")
def device():
    """cuda; where there is none, what EARLYEXIT_TEST_DEVICE names, to try the tests themselves."""
    if torch.cuda.is_available():
        return "cuda"
    named = os.environ.get("EARLYEXIT_TEST_DEVICE")
    return named or pytest.skip("no GPU here; EARLYEXIT_TEST_DEVICE=cpu tries the tests themselves")


@pytest.fixture
def full_precision():
    """float32 throughout: by default torch multiplies convolutions and LSTMs in TF32."""
    parts = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = False
    yield
    for part, value in zip(parts, before, strict=True):
        part.allow_tf32 = value


@pytest.fixture
def torchs_own_precision(monkeypatch):
    """TF32 as torch starts with it, whatever a test before has turned off: a command has to see to
    its precision by itself.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)


@pytest.fixture
def heard(tmp_path, own_cache):
    """Six utterances and how they are loaded."""
    return items_of(tmp_path, (*LENGTHS, 7_000, 14_000, 20_000))


@pytest.fixture(scope="session")
def here():
    """daisy.tiny on the CPU."""
    return build_upstream("daisy.tiny").requires_grad_(False)


@pytest.fixture(scope="session")
def there(device):
    """daisy.tiny on the device."""
    return build_upstream("daisy.tiny").to(device).requires_grad_(False)


@pytest.fixture(scope="session")
def corpora(corpus, tmp_path_factory):
    """Task -> a small corpus."""
    root = tmp_path_factory.mktemp("corpora")
    return {
        "se": corpus,
        "sid": sounds.people(root / "people"),
        "asr": sounds.spoken_list(root / "spoken"),
        "ss": sounds.mixed(root / "mixed"),
    }
