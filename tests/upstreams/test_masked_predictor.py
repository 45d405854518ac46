"""What masked prediction trains: which blocks name units, and which tell the clean front-end."""

from dataclasses import replace

import torch
from earlyexit_superb.upstreams.backbones import hubert_weights
from earlyexit_superb.upstreams.training import masked_crops, masked_predictor
from helpers import SMALL


def two_crops() -> masked_crops.Crops:
    return masked_crops.Crops(
        *(torch.randn(2, 9, SMALL.conv_dim) for _ in range(2)),
        torch.arange(18).reshape(2, 9) % 5,
        torch.arange(18).reshape(2, 9) % 3 == 0,
        masked=6,
        opened=12,
    )


def predictor(every=False, deep=False) -> masked_predictor.Predictor:
    warm = hubert_weights.load("random", SMALL)[0]
    return masked_predictor.Predictor(replace(SMALL, units=5), warm, every, deep).eval()


@torch.no_grad()
def test_earlier_blocks_name_units_by_their_depth():
    """Heads and states that are all alike: the last's error times one plus the sum of weights."""
    torch.manual_seed(0)
    crops, model, plain = two_crops(), predictor(deep=True), predictor()
    states = [torch.randn(2, 9, SMALL.dim)] * (SMALL.depth + 1)
    assert len(model.earlier) == SMALL.depth - 1 and not len(plain.earlier)
    for head in (*model.earlier, plain.net.head):
        head.load_state_dict(model.net.head.state_dict())
    alone = plain.naming_error(states, crops, 0.5, 0.4)
    weights = 1 + 0.4 * sum(range(1, SMALL.depth)) / SMALL.depth
    torch.testing.assert_close(model.naming_error(states, crops, 0.5, 0.4), alone * weights)
    model.earlier[0].final_proj.weight.neg_()  # block 1 is read by its own head
    assert not torch.isclose(model.naming_error(states, crops, 0.5, 0.4), alone * weights)


def test_every_block_tells_or_the_last_alone():
    torch.manual_seed(0)
    crops = two_crops()
    last, every = (predictor(every=each) for each in (False, True))
    states = last.states(crops.heard, crops.mask)
    with torch.no_grad():
        every.carried[-1].load_state_dict(last.carried[0].state_dict())
        for tell in every.carried[:-1]:  # these always tell the clean output's mean, 0
            tell.weight.zero_()
            tell.bias.zero_()
        one, mean = (model.carry_error(states, crops) for model in (last, every))
    size = 12  # a frame each; a layer-norm has mean square 1
    torch.testing.assert_close(
        mean * SMALL.depth, one + (SMALL.depth - 1) * size, rtol=1e-3, atol=1e-3
    )
