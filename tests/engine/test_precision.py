"""float32 in full, also on a GPU, whatever runs an upstream; bfloat16 outside of it."""

import re

import pytest
import torch
from earlyexit_superb.benchmark.engine import cache_key
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from helpers import ROOT, TOY
from toys.toy import Toy

LENGTHS = torch.tensor([16_000, 9_999, 12_800])
SWITCHES = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture
def tf32():
    """On, as torch starts on a GPU: says whether any of it still is."""
    before = [part.allow_tf32 for part in SWITCHES]
    for part in SWITCHES:
        part.allow_tf32 = True
    yield lambda: any(part.allow_tf32 for part in SWITCHES)
    for part, value in zip(SWITCHES, before, strict=True):
        part.allow_tf32 = value


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float32_is_float32(tf32, precision):
    """Heads too, which stay in float32 behind a lowered upstream."""
    assert tf32()
    at_precision(Toy(), precision)
    assert not tf32()


def test_a_run_is_resolved_in_float32(tf32, corpus, tmp_path):
    """And with it whatever asks for rows, a probe or midpoints, and every worker process."""
    resolve(RunConfig(TOY, "se", data=corpus, protocol="mini", results=tmp_path))
    assert not tf32()


def test_what_a_gpu_recorded_in_tf32_is_not_read_again():
    """On a CPU nothing changed, and entries keep their names."""
    on_gpu, here = (cache_key.about(Toy(), [], device, "states") for device in ("cuda:0", "cpu"))
    assert on_gpu["products"] == "float32" and "products" not in here


def test_whoever_runs_an_upstream_on_a_device_says_at_which_precision():
    """But a training, which gives no row and may take what is fastest."""
    moved = re.compile(r"build_upstream\(.*\)\.to\(")
    files = [p for p in (ROOT / "benchmark").rglob("*.py") if moved.search(p.read_text())]
    silent = {p.name for p in files if not re.search(r"= at_precision\(", p.read_text())}
    assert len(files) > 3 and silent == {"training_start.py"}


def test_bf16_has_another_name_and_stays_outside():
    own = torch.arange(16_000) < LENGTHS[:, None]
    wavs = 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0)) * own
    toy = Toy().eval()
    low = at_precision(toy, "bf16")
    assert at_precision(toy, "fp32") is toy and low.card.name == "toy(bf16)"
    assert low.card.revision == "seed-0.bf16" != toy.card.revision
    assert low.backbone.card.name == "toy(bf16)" and (low.knob, low.spans) == (toy.knob, toy.spans)
    with torch.no_grad():
        for a, b in zip(low.states(wavs, LENGTHS), toy.states(wavs, LENGTHS), strict=True):
            assert a.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            assert not torch.equal(a, b) and (a - b).abs().max() < 0.02 * b.abs().max()
    out = run_until_exit(low, wavs, LENGTHS, Exit((1, 2, 3), 10.0))
    assert out.depth.tolist() == [1, 1, 1]
    with pytest.raises(UsageError, match="fp32 or bf16"):
        at_precision(toy, "fp16")
