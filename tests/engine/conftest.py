"""What tests of the engine share."""

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from helpers import command, items_of


@pytest.fixture
def split(tmp_path, own_cache):
    """Four utterances and how they are loaded."""
    return items_of(tmp_path, (9000, 4000, 16000, 700))


@pytest.fixture(scope="session")
def finished(corpus, tmp_path_factory):
    """The results of one command, made in the cache that tests of this room share."""
    results = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(command(corpus, results, "--rho", "1.0")) == 0
    return results


@pytest.fixture
def gpus():
    """Two pretended GPUs; where there are real ones, tests/gpu runs on them."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: make test-gpu")
    from helpers.gpus import Gpus

    with Gpus() as both:
        yield both
