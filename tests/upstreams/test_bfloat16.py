"""States in bfloat16 are those of float32 but for their rounding, whatever CPU multiplies."""

import pytest
import torch
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.masking import valid_mask
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from earlyexit_superb.upstreams.backbones.positions import PositionConvolution, in_wide_groups
from torch.nn import functional

SHIPPED = ("hubert.tiny", "distilhubert.tiny", "conformer_ctc.tiny", "conformer_aed.tiny")
RANDOM = ("wavlm.tiny", "data2vec.tiny", "wav2vec2.tiny")


@pytest.mark.parametrize("name", SHIPPED + RANDOM)
def test_every_state_is_near_that_of_float32(name, clips):
    upstream = build_upstream(name, {"weights": "random"} if name in RANDOM else {})
    wavs = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    with torch.no_grad():
        full = list(upstream.states(wavs, lengths))
        low = list(at_precision(upstream, "bf16").states(wavs, lengths))
    own = valid_mask(upstream.frames(lengths), full[0].shape[1])
    errors = [float((a - b)[own].norm() / a[own].norm()) for a, b in zip(full, low, strict=True)]
    assert 0 < max(errors) < 0.05, errors


@pytest.mark.parametrize("width", [19, 64, 128])
@pytest.mark.parametrize("layers", [1, 2])
def test_positions_are_those_of_float32(layers, width):
    """oneDNN's bfloat16 kernels for AMX give wrong sums for groups as narrow as hubert.tiny's."""
    torch.manual_seed(0)
    part = PositionConvolution(HubertShape(dim=192, pos_layers=layers, pos_kernel=width))
    x = torch.randn(2, 80, 192, requires_grad=True)
    wanted = part(x, None)
    with torch.autocast("cpu", torch.bfloat16):
        found = part(x, None)
    by = [x, *part.parameters()]
    for a, b in zip(gradients(wanted, by), gradients(found, by), strict=True):
        assert (a - b).norm() < 0.03 * a.norm()
    assert (wanted - found).norm() < 0.03 * wanted.norm()


def test_no_even_width_is_convolved_in_bfloat16(monkeypatch):
    """Whatever this CPU's kernels give."""
    part, widths, usual = PositionConvolution(HubertShape(dim=192)), [], functional.conv1d

    def spy(x, weight, *rest, **more):
        widths.append(weight.shape[-1])
        return usual(x, weight, *rest, **more)

    monkeypatch.setattr(functional, "conv1d", spy)
    with torch.autocast("cpu", torch.bfloat16):
        part(torch.randn(2, 80, 192), None)
    assert widths == [129]


@pytest.mark.parametrize(("dim", "groups", "kernel"), [(96, 8, 6), (96, 2, 5), (128, 2, 4)])
def test_filled_groups_give_the_same_sums(dim, groups, kernel):
    """As a GPU multiplies them in half precision: there and back."""
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups).double()
    x = torch.randn(2, 9, dim, dtype=torch.float64, requires_grad=True)
    wanted, found, by = conv(x.mT).mT, in_wide_groups(conv, x), [x, *conv.parameters()]
    torch.testing.assert_close(found, wanted)
    for a, b in zip(gradients(wanted, by), gradients(found, by), strict=True):
        torch.testing.assert_close(b, a)


def gradients(made, by):
    return torch.autograd.grad(made.float().square().sum(), by)
