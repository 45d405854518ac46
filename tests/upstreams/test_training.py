"""The recipes of hubert.tiny and daisy.tiny, small: run, resumed, and read by the loaders."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio, distributed
from earlyexit_superb.benchmark.contract import TrainingRun
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.training_data import files
from earlyexit_superb.upstreams.backbones import hubert_weights
from earlyexit_superb.upstreams.daisy import Daisy
from earlyexit_superb.upstreams.training import (
    daisy_recipe,
    heard,
    hubert_recipe,
    masked_crops,
)
from earlyexit_superb.upstreams.training.daisy_frames import frozen_backbone
from earlyexit_superb.upstreams.training.pretraining_data import Pool
from earlyexit_superb.upstreams.training.utterances import of_folders
from helpers import SMALL, fit, fit_branches
from toys.toy import Toy


def test_a_backbone_is_trained_and_a_second_call_changes_nothing(speech, tmp_path):
    path = fit(speech, tmp_path)
    first = path.read_bytes()
    net, revision = hubert_weights.load(str(path), SMALL)
    card = json.loads(path.with_suffix(".json").read_text())
    assert (
        card["revision"] == revision
        and net.head.label_embs_concat.shape == (8, 12)
        and card["recipe"]["block_steps"] == 3
    )
    assert {"masked@2", "unmasked", "carry_error"} <= card["last_look"]["block"].keys()
    assert fit(speech, tmp_path) == path and path.read_bytes() == first


def test_branches_are_trained_on_a_given_backbone(speech, tmp_path):
    path = fit_branches(speech, tmp_path)
    daisy = Daisy("tiny", weights="random", branches=str(path))
    card = json.loads(path.with_suffix(".json").read_text())
    assert (
        daisy.card.revision == f"{card['backbone_revision']}+{card['revision']}"
        and "argmax" in card["targets"]
    )
    assert (
        len(daisy.branches) == 12 and {"entropy@1", "agreement@12"} <= card["held_out_clean"].keys()
    )


def test_masks_are_spans():
    """Spans are masked, never everything, never nothing."""
    mask = masked_crops.span_mask(np.random.default_rng(0), 200, 125, 0.08, 10)
    assert mask.any(1).all() and 0.4 < mask.mean() < 0.65
    assert (np.diff(mask.astype(int)) == 1).sum() > 200


def test_crops_start_on_frames_and_held_out_clips_stay_out(speech):
    pool = Pool([speech / "clips"], [speech / "noise"])
    seen = {
        clip for i in range(30) for clip, _ in pool.crops(np.random.default_rng(i), 8, 16_000)[1]
    }
    assert not seen & set(pool.held_out) and len(seen) > 40
    wavs, places = pool.crops(np.random.default_rng(3), 4, 16_000)
    for wav, (clip, start) in zip(wavs, places, strict=True):
        source = torch.from_numpy(pool.wav(clip)[start * 320 : start * 320 + 16_000])
        assert torch.corrcoef(torch.stack([wav, source]))[0, 1] > 0.9999
    assert torch.equal(pool.crops(np.random.default_rng(3), 4, 16_000)[0], wavs)


def test_only_the_training_part_of_an_identification_split_is_heard(tmp_path):
    for i in range(3):
        audio.write(tmp_path / "WAVE" / f"{i}.wav", np.zeros(8, np.float32))
    (tmp_path / "iden_split.txt").write_text("1 0.wav\n2 1.wav\n3 2.wav\n")
    assert [p.name for p in files(tmp_path)] == ["0.wav"]


def test_bad_training_input_is_one_sentence(speech, tmp_path):
    with pytest.raises(UsageError, match="block_layer is 1 to 2, not 3"):
        fit(speech, tmp_path, block_layer=3)
    with pytest.raises(UsageError, match="0 clips of at least"):
        Pool([speech / "noise"])


def test_training_goes_on_from_trained_weights(speech, tmp_path):
    first = fit(speech, tmp_path / "first")
    second = fit(speech, tmp_path / "second", warm=str(first), block_units=6)
    card = json.loads(second.with_suffix(".json").read_text())
    assert (
        card["warm_from"] == json.loads(first.with_suffix(".json").read_text())
        and card["warm_from"]["revision"] != card["revision"]
    )
    assert card["shape"]["units"] == 6 and set(card["last_look"]) == {"block"}
    one, two = (hubert_weights.load(str(path), SMALL)[0] for path in (first, second))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            one.feature_extractor.parameters(), two.feature_extractor.parameters(), strict=True
        )
    )


@pytest.mark.slow
def test_state_0_is_brought_to_the_scale_of_the_blocks(speech, tmp_path):
    """Blocks end in a layer-norm, so their mean square is about 1; `level` brings state 0 there."""
    net = hubert_weights.load(str(fit(speech, tmp_path / "first")), SMALL)[0]
    with torch.no_grad():
        net.feature_projection.projection.weight *= 40
    hubert_weights.save(net, tmp_path / "loud.safetensors")
    wavs = Pool([speech / "clips"]).crops(np.random.default_rng(0), 8, 16_000)[0]

    def mean_square(path):
        net = hubert_weights.load(str(path), SMALL)[0]
        with torch.no_grad():
            states = net.states(wavs, torch.full((8,), 16_000), projection=True)
            return float(next(states).square().mean())

    warm = str(tmp_path / "loud.safetensors")
    free = fit(speech, tmp_path / "free", warm=warm)
    levelled = fit(speech, tmp_path / "levelled", warm=warm, level=1.0)
    assert mean_square(free) > 100 and mean_square(levelled) == pytest.approx(1, abs=0.2)
    # what is to be predicted are the units of the weights as they came
    kept = [np.load(path.with_suffix("") / "block" / "units.npz") for path in (free, levelled)]
    np.testing.assert_array_equal(*(units["units"] for units in kept))


def test_noisy_crops_may_tell_the_clean_output_alone(speech, tmp_path):
    """They have no mask and no unit then, and are still heard with noise."""
    pool, shape = Pool([speech / "clips"], [speech / "noise"]), SMALL
    run = TrainingRun("hubert.small", "small", {}, tmp_path, tmp_path)
    recipe = replace(hubert_recipe.TINY, batch=16, frames=60, noisy_units=False)
    own = heard.Heard(hubert_weights.load("random", shape)[0], pool, recipe.noisy, run)
    units = [np.arange(size) % 7 for size in own.sizes]
    crops = masked_crops.Draw(recipe, own, units, "cpu")(np.random.default_rng(0))
    noisy = (crops.heard != crops.clean).flatten(1).any(1)
    assert 3 < int(noisy.sum()) < 13 and crops.masked == int(crops.mask.sum())
    assert torch.equal(noisy, ~crops.mask.any(1)) and crops.opened + crops.masked == 16 * 60
    assert torch.equal(noisy, (crops.units == masked_crops.NONE).all(1))
    assert not (crops.units[~noisy] == masked_crops.NONE).any()
    alike = replace(recipe, noisy_units=True)
    both = masked_crops.Draw(alike, own, units, "cpu")(np.random.default_rng(0))
    noise = replace(recipe, noisy=1.0)
    none = masked_crops.Draw(noise, own, units, "cpu")(np.random.default_rng(0))
    assert not none.mask.any() and none.masked == 1  # a sum over none is divided by it
    assert torch.equal(both.heard, crops.heard) and both.mask.any(1).all()


@pytest.mark.slow
def test_units_may_come_from_other_weights(speech, tmp_path):
    one, other = (str(fit(speech, tmp_path / str(lr), lr=lr)) for lr in (1e-3, 3e-2))

    def units(name, **settings):
        path = fit(speech, tmp_path / name, **settings)
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["recipe"]["units_from"] == Path(settings.get("units_from", "")).name
        assert bool(card["units_from_revision"]) == ("units_from" in settings)
        return np.load(path.with_suffix("") / "block" / "units.npz")["units"]

    of_one, of_other = units("one", warm=one), units("other", warm=other)
    np.testing.assert_array_equal(units("mixed", warm=one, units_from=other), of_other)
    assert (of_one != of_other).any()
    with pytest.raises(UsageError, match="the convolutions of units_from=.* are not those of"):
        units("no", warm=one, units_from=str(fit(speech, tmp_path / "strange", front_lr=1e-2)))


# ---- what branches learn from --------------------------------------------------------------------


class Units(Toy):
    """The toy with units: a digit of its first feature."""

    unit_count = 5

    def units(self, state):
        return (state[..., 0] * 1000).long() % 5


def frozen(backbone, audio, **changes):
    few = {"batch": 2, "seconds": 1.0, "fallback_units": 7, "fallback_block": 2}
    recipe = replace(daisy_recipe.TINY, **few, **changes)
    run = TrainingRun("daisy.toy", "toy", {}, Path(), Path())
    return frozen_backbone(backbone, audio, recipe, run)


def test_targets_are_the_backbones_own_units_or_those_of_a_block(speech):
    """Of any backbone, over valid frames alone."""
    pool = Pool([speech / "clips"])
    wavs, lengths = (
        pool.crops(np.random.default_rng(0), 2, 16_000)[0],
        torch.tensor([16_000, 9_600]),
    )
    wavs[1, 9_600:] = 0
    for backbone, said in ((Units(), "argmax"), (Toy(), "7 units of block 2")):
        teacher = frozen(backbone, pool)
        states, units = teacher.hear(wavs, lengths)
        one, first = teacher.hear(wavs[:1], lengths[:1])
        two, second = teacher.hear(wavs[1:, :9_600], lengths[1:])
        assert (
            states.shape == (3, 50 + 30, 16)
            and said in teacher.said
            and int(units.max()) < teacher.units
        )
        assert torch.equal(units, torch.cat([first, second])) and units.unique().numel() > 1
        torch.testing.assert_close(states, torch.cat([one, two], 1))
    whole = list(Units().states(wavs, lengths))[-1]
    assert torch.equal(
        frozen(Units(), pool).hear(wavs, lengths)[1][:50], (whole[0, :, 0] * 1000).long() % 5
    )
    with pytest.raises(UsageError, match="fallback_block is 1 to 3, not 9"):
        frozen_backbone(
            Toy(),
            pool,
            daisy_recipe.BranchRecipe(fallback_block=9),
            TrainingRun("daisy", "", {}, Path(), Path()),
        )


def test_whole_utterances_are_heard_once_an_epoch_in_an_order_of_the_seed(ragged, monkeypatch):
    def heard(seed, batches, **place):
        own = of_folders([ragged / "clips"], 2.5, 4, seed)
        return own, [own.batch(i) for i in batches]

    speech, batches = heard(0, range(12))  # 50 long enough, 2 of them held out: 48 an epoch
    lengths = torch.cat([n for _, n, _ in batches]).tolist()
    assert len(speech.held_out) == 2 and sorted(lengths) == sorted(
        min(clip.samples, 40_000) for clip in speech.training
    )
    wavs, own, of_all = batches[3]
    assert (
        torch.equal(own, of_all)
        and wavs.shape == (4, own.max())
        and all((row[n:] == 0).all() for row, n in zip(wavs, own, strict=True))
    )
    assert torch.equal(heard(0, [3])[1][0][0], wavs) and not torch.equal(
        heard(1, [3])[1][0][0][:, :100], wavs[:, :100]
    )
    assert torch.cat([n for _, n, _ in heard(0, range(12, 24))[1]]).tolist() != lengths
    parts = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank_and_size", lambda rank=rank: (rank, 2))
        parts.append(heard(0, [3])[1][0])
    assert [n.tolist() for _, n, _ in parts] == [own[0::2].tolist(), own[1::2].tolist()]
    assert all(torch.equal(n, of_all) for _, _, n in parts)
    with pytest.raises(UsageError, match="0 utterances of at least 2 s"):
        of_folders([ragged / "noise"], 2.5, 4, 0)


def test_the_published_recipe_learns_from_whole_utterances(ragged, tmp_path):
    path = fit_branches(ragged, tmp_path, "paper", steps=3, batch=4, lr=0.01, every=1)
    log = [
        json.loads(line)
        for line in (tmp_path / "daisy.tiny" / "branches" / "log.jsonl").read_text().splitlines()
    ]
    card = json.loads(path.with_suffix(".json").read_text())
    assert (
        log[-1]["loss"] < log[0]["loss"]
        and card["recipe"]["whole"]
        and "given here: batch, every, lr, steps" in card["recipe"]["source"]
    )
    assert len(Daisy("tiny", weights="random", branches=str(path)).branches) == 12


def test_recipes_that_ask_for_two_things_are_refused():
    for recipe, sentence in (
        ({"noisy": 0.5}, "are heard clean; add --set noisy=0"),
        ({"whole": False}, "say how many: --set frames=4096 heard=48"),
    ):
        with pytest.raises(UsageError, match=sentence):
            replace(daisy_recipe.PAPER, **recipe)
