"""In half precision no kernel of a block takes far longer than in full, at a new size either."""

import time

import pytest
import torch
from earlyexit_superb.upstreams.backbones.attending import attended
from earlyexit_superb.upstreams.backbones.positions import convolved

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def only_cuda(device):
    if device != "cuda":
        pytest.skip("of cuDNN's kernels")


def seconds(work):
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def median(work, count=7):
    return sorted(seconds(work) for _ in range(count))[count // 2]


def there_and_back(made, by):
    return torch.autograd.grad(made.float().square().sum(), by)


@pytest.mark.parametrize(("dim", "kernel"), [(768, 128), (768, 19), (1024, 128), (192, 128)])
def test_positions(dim, kernel):
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=16).cuda()
    x = torch.randn(8, 250, dim, device="cuda", requires_grad=True)
    by = [x, *conv.parameters()]

    def in_half():
        with torch.autocast("cuda", torch.bfloat16):
            return convolved(conv, x)

    def in_full():
        return conv(x.mT).mT

    assert in_half().dtype == torch.bfloat16
    found, wanted = (there_and_back(made(), by) for made in (in_half, in_full))
    assert (in_half() - in_full()).norm() < 0.02 * in_full().norm()
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() < 0.03 * b.norm()
    half, full = (median(lambda m=m: there_and_back(m(), by)) for m in (in_half, in_full))
    assert half < 2 * full + 2e-3, (half, full)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_of_a_new_size_takes_no_plan(masked):
    """cuDNN's takes up to a second for one."""

    def work(frames):
        shape, rng = (4, 12, frames, 64), torch.Generator("cuda").manual_seed(frames)
        given = [
            torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=rng) for _ in range(3)
        ]
        given = [part.requires_grad_() for part in given]
        mask = None
        if masked:
            mask = (torch.arange(frames, device="cuda") < frames - 5)[None, None, None]
        return there_and_back(attended(*given, mask, 0.0), given)

    work(100)
    took = [seconds(lambda n=n: work(n)) for n in (131, 157, 203, 251, 313, 397)]
    assert max(took) < 0.1, took
