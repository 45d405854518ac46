"""The early-exit Conformers learn by the loop of all systems that spell."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from earlyexit_superb.upstreams import conformer_aed
from earlyexit_superb.upstreams.backbones.conformer_shape import ConformerShape, spectrum_frames
from earlyexit_superb.upstreams.backbones.conformer_trunk import ConformerTrunk
from earlyexit_superb.upstreams.conformer_aed import ConformerAED
from earlyexit_superb.upstreams.conformer_ctc import ConformerCTC
from earlyexit_superb.upstreams.recognition import weights as files
from earlyexit_superb.upstreams.training import recognition, recognition_learner, trunk_walk
from earlyexit_superb.upstreams.training.recognition_recipe import RecognitionRecipe
from helpers.conformer import SMALL
from helpers.spelling import RECIPE, run_in, said, transcribed
from torch import nn

SHAPE = replace(SMALL, depth=4, dim=24, ffn=48)
RECIPES = {
    "ctc": replace(RECIPE, layerdrop=0.0, mask_width=4, channel_prob=0.2, channel_width=3),
    "aed": replace(RECIPE, layerdrop=0.0, ctc=0.3, mask_prob=0.0),
}


class SmallCTC(ConformerCTC):
    shapes = {"small": SHAPE}


class SmallAED(ConformerAED):
    shapes = {"small": SHAPE}


SYSTEMS = {"ctc": SmallCTC, "aed": SmallAED}


@pytest.fixture(autouse=True)
def small_decoders(monkeypatch):
    monkeypatch.setattr(conformer_aed, "DECODERS", {"small": 1})


def tune(folder, kind: str, data=None, recipe: RecognitionRecipe | None = None, **options):
    run = run_in(folder, options=options)
    system = SYSTEMS[kind]
    recognition.train(recipe or RECIPES[kind], data or transcribed(), run, system, "random")
    return system("small", str(run.weights), **options).eval()


def log(folder):
    lines = (folder / "small" / "joint" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", SYSTEMS)
def test_it_is_trained_and_its_class_reads_it(tmp_path, kind):
    built = tune(tmp_path, kind)
    card = json.loads((tmp_path / "small.safetensors").with_suffix(".json").read_text())
    assert built.card.revision == card["revision"] and card["exits"] == [2, 4]
    assert {"wer@2", "cer@4"} <= card["kept"]["joint"].keys()
    begun = SYSTEMS[kind]("small", "random").state_dict()
    still = [k for k, v in built.state_dict().items() if torch.equal(v, begun[k].half().float())]
    assert still == []  # statistics of the batch norms, decoders and convolutions included
    assert files.read(str(tmp_path / "small.safetensors"), built.called).path.exists()


@pytest.mark.parametrize("kind", SYSTEMS)
def test_it_is_trained_where_products_are_bf16(tmp_path, monkeypatch, kind):
    """Whatever this machine's processor has."""
    bf16 = torch.autocast("cpu", torch.bfloat16)
    monkeypatch.setattr(recognition_learner, "half", lambda device: bf16)
    built = tune(tmp_path, kind)
    assert all(torch.isfinite(p).all() for p in built.parameters())


@pytest.mark.slow
def test_split_ones_and_singles_are_trained_too(tmp_path):
    split = tune(tmp_path / "split", "ctc", split=True)
    assert split.trunk.net.shape.parallel == ((0, 2), (2, 4))
    assert tune(tmp_path / "single", "aed", single=2).exits == ()


def test_masks_are_of_the_spectrum(clips):
    trunk = ConformerTrunk(SMALL, "small").eval()
    wavs, lengths = nn.utils.rnn.pad_sequence(clips, batch_first=True), [len(c) for c in clips]
    seen = []

    def changes(spectrum, frames):
        seen.append((spectrum, frames, drawn(spectrum, frames)))
        return seen[-1][2]

    recipe = replace(RECIPE, mask_prob=0.2, mask_width=5, channel_prob=0.3, channel_width=4)
    rngs = [np.random.default_rng(i) for i in range(3)]
    drawn = trunk_walk.Changes(recipe, rngs)
    given = wavs, torch.tensor(lengths)
    with torch.enable_grad():
        plain = list(trunk.states(*given))
        masked = list(trunk.net.states(*given, changes))
    [(spectrum, frames, heard)] = seen
    assert frames.tolist() == [spectrum_frames(n) for n in lengths]
    gone = (heard == 0) & (spectrum != 0)
    assert 0.2 < gone[1].float().mean() < 0.6
    assert bool(gone[1].all(1).any()) and bool(gone[1].all(0).any())  # frames, and bands
    assert not torch.allclose(plain[1], masked[1])
    walked = list(trunk_walk.states(trunk, *given, trunk_walk.Changes(recipe)))
    assert all(torch.equal(a, b) for a, b in zip(plain, walked, strict=True))  # none in dev


def test_a_held_trunk_hears_the_same_masks(clips):
    """Without gradients, too, in a batch: each row has its own."""
    trunk = ConformerTrunk(SMALL, "small").eval()
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    given = wavs, torch.tensor([len(clip) for clip in clips])
    recipe = replace(RECIPE, mask_prob=0.2, mask_width=5, channel_prob=0.3, channel_width=4)

    def walked():
        rngs = [np.random.default_rng(i) for i in range(3)]
        return list(trunk_walk.states(trunk, *given, trunk_walk.Changes(recipe, rngs)))

    with torch.enable_grad():
        learning = walked()
    with torch.no_grad():
        held = walked()
    for one, other in zip(learning, held, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_heads_are_trained_after_the_trunk_with_masks(tmp_path, kind):
    recipe = replace(RECIPES[kind], strategy="two_stage", second_steps=2, mask_prob=0.3)
    tune(tmp_path, kind, recipe=recipe)
    card = json.loads((tmp_path / "small.safetensors").with_suffix(".json").read_text())
    assert list(card["kept"]) == ["backbone", "heads"] and "wer@2" in card["kept"]["heads"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SYSTEMS)
def test_it_learns_to_spell_and_every_exit_does(tmp_path, kind):
    recipe = replace(
        RECIPES[kind], steps=500, every=100, batch=8, lr=3e-3, head_lr=3e-3, mask_prob=0.0
    )
    recipe = replace(recipe, channel_prob=0.0, warmup=50)
    built = tune(tmp_path, kind, transcribed(train=64, dev=16), recipe)
    first, *_, last = log(tmp_path)
    assert last["dev_loss"] < 0.3 * first["dev_loss"]
    assert last["cer@4"] < 25 and last["cer@2"] < 40
    wav = said("ABC CAB")
    length = torch.tensor([len(wav)])
    with torch.no_grad():
        *_, state = built.states(wav[None], length)
        [answer] = built.answer(4, state, built.frames(length))
    assert set(built.decode(answer, "asr")) <= set("ABC ")


def test_shapes_of_a_file_come_back_from_json():
    shape = ConformerShape(parallel=((0, 2),), strides=(2, 1))
    assert ConformerShape(**json.loads(json.dumps(asdict(shape)))) == shape
