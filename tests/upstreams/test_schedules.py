"""Learning rates by name, beside what others compute."""

import math

import pytest
import torch
from earlyexit_superb.upstreams.training import schedules
from helpers import installed


def test_linear_is_that_of_transformers():
    installed("transformers")
    from transformers import get_linear_schedule_with_warmup

    for steps, warmup in ((50, 0), (50, 7), (9, 9)):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs, ours = (
            get_linear_schedule_with_warmup(optimiser, warmup, steps),
            schedules.linear(steps, warmup),
        )
        for step in range(steps + 3):
            assert ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
            optimiser.step()
            theirs.step()


def test_tri_stage_rises_holds_and_falls_as_in_fairseq():
    """Its numbers for base_960h: 0.1, 0.4 and 0.5 of the updates, from 0.01 and to 0.05."""
    factor = schedules.tri_stage(32, 128, 160)
    assert factor(0) == 0.01 and factor(16) == pytest.approx((1 + 0.01) / 2)
    assert {factor(step) for step in range(32, 161)} == {1.0}
    # the fall: exp(-t decay), with decay = -log(0.05) / 160
    for step in (161, 200, 319):
        expected = math.exp(math.log(0.05) / 160 * (step - 160))
        assert factor(step) == pytest.approx(expected)
    assert factor(320) == factor(10_000) == 0.05


def test_a_stage_may_be_left_out():
    assert schedules.tri_stage(0, 0, 10)(0) == 1.0
    assert schedules.tri_stage(0, 0, 0)(1) == 0.05


def test_noam_is_the_formula():
    paper, peaked = schedules.noam(100, width=256), schedules.noam(100)
    for step in (0, 50, 99, 100, 1000):
        s = step + 1
        rate = 256**-0.5 * min(s**-0.5, s * 100**-1.5)
        assert paper(step) == pytest.approx(rate)
        assert peaked(step) == pytest.approx(rate / (256 * 100) ** -0.5)
    assert max(range(1000), key=peaked) == 99 and peaked(99) == pytest.approx(1)


def test_newbob_falls_where_dev_stops_getting_better():
    losses = [10.0, 9.0, 8.99, 8.99, 9.5, 5.0, float("nan"), 4.0]
    log = [{"dev_loss": loss} for loss in losses]
    # not better by a quarter of a percent: 8.99 after 9.0, 8.99, 9.5, nan, and what follows nan
    poor = [0, 0, 1, 2, 3, 3, 4, 5]
    for validations, times in enumerate(poor, 1):
        rate = schedules.newbob(log[:validations], "dev_loss", 0.8, 0.0025)
        assert rate == pytest.approx(0.8**times)
    assert schedules.newbob([], "dev_loss", 0.8, 0.0025) == 1
