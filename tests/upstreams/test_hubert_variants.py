"""Large's order of norms, wav2vec 2.0 and torchaudio's pre-training models: the libraries' own
numbers, small.
"""

import shutil
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.upstreams.backbones.hubert_shape import KERNELS, STRIDES, frame_counts
from earlyexit_superb.upstreams.backbones.hubert_weights import load
from helpers.hubert import (
    LARGE,
    SAMPLES,
    SMALL,
    SMALL_LARGE,
    alone_and_together,
    close,
    padded,
    states,
)
from helpers.libraries import (
    heard,
    library,
    of_s3prl,
    of_torchaudio,
    of_transformers,
    states_of_torchaudio,
    states_of_transformers,
    unlike_new,
)
from torch import nn


@pytest.mark.parametrize("shape", [SMALL, SMALL_LARGE], ids=["like base", "like large"])
@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2"])
def test_small_models_of_transformers_and_torchaudio(tmp_path, clips, shape, kind):
    model = of_transformers(shape, kind)
    model.save_pretrained(tmp_path)
    net, revision = load(str(tmp_path), shape)
    other = of_torchaudio(model)
    torch.save(other.state_dict(), tmp_path / "torchaudio.pth")
    assert load(str(tmp_path / "torchaudio.pth"), shape)[1] == revision
    alone = [states(net, [wav]) for wav in clips]
    for mine, wav in zip(alone, clips, strict=True):
        close(mine, states_of_transformers(model, shape, wav))
        close(mine[1:], states_of_torchaudio(other, shape, wav))
    alone_and_together(states(net, clips), alone)


def test_a_batch_of_the_layer_norm_model_is_that_of_transformers_too(tmp_path, clips):
    """Layer-norm models can be padded as usually run, so the libraries' own batch is a second
    witness.
    """
    model = of_transformers(SMALL_LARGE)
    model.save_pretrained(tmp_path)
    net, _ = load(str(tmp_path), SMALL_LARGE)
    padded = nn.utils.rnn.pad_sequence([heard(SMALL_LARGE, w)[0] for w in clips], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(w) for w in clips], batch_first=True).long()
    with torch.no_grad():
        theirs = model(padded, attention_mask=mask).last_hidden_state
    mine = states(net, clips)[-1]
    for row, n in enumerate(SAMPLES):
        close([mine[row, : frame_counts(n)]], [theirs[row, : frame_counts(n)]])


def test_small_pre_norm_checkpoint_of_s3prl(tmp_path, clips):
    expert = of_s3prl(SMALL_LARGE, tmp_path / "converted.pt")
    net, revision = load(
        str(tmp_path / "converted.pt"),
        replace(SMALL_LARGE, normalise_wav=False, units=1, unit_dim=1),
    )
    # the checkpoint knows its head and whether it wants normalised waveforms
    assert net.shape == SMALL_LARGE
    for wav in clips:
        with torch.no_grad():
            close(states(net, [wav]), expert([wav])["hidden_states"])
    blob = torch.load(tmp_path / "converted.pt", weights_only=True)
    torch.save(
        {
            "model": blob["model_weight"],
            "cfg": {"model": blob["model_cfg"], "task": blob["task_cfg"]},
        },
        tmp_path / "fairseq.pt",
    )
    again, same = load(str(tmp_path / "fairseq.pt"), SMALL_LARGE)
    assert same == revision and again.shape == net.shape


def test_torchaudio_pretraining_models_bring_their_head(tmp_path, clips):
    models = library("torchaudio.models")
    torch.manual_seed(4)
    convolutions = [(SMALL.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]
    masks = (0.8, "static", 0.0, False, 1, 10, 0.0, "static", 0.0, False, 10, 1)
    model = unlike_new(
        models.hubert_pretrain_model(
            "group_norm",
            convolutions,
            False,
            32,
            0.0,
            8,
            4,
            3,
            2,
            0.0,
            64,
            0.0,
            0.0,
            False,
            0.0,
            *masks,
            skip_masked=False,
            skip_nomask=False,
            num_classes=SMALL.units,
            final_dim=SMALL.unit_dim,
            feature_grad_mult=None,
        )
    )
    torch.save(model.state_dict(), tmp_path / "pretrained.pt")
    net, _ = load(str(tmp_path / "pretrained.pt"), replace(SMALL, units=1, unit_dim=1))
    assert net.shape == SMALL
    mine = states(net, clips[:1])
    close(mine[1:], states_of_torchaudio(model.wav2vec2, SMALL, clips[0]))
    everywhere = torch.ones(mine[-1].shape[:2], dtype=torch.bool)
    with torch.no_grad():
        theirs, _ = model.logit_generator(
            mine[-1], torch.zeros_like(everywhere, dtype=torch.long), everywhere, ~everywhere
        )
        close([net.head(mine[-1])[0]], [torch.cat([theirs[:, :1], theirs[:, 2:]], 1)])


@pytest.mark.slow
def test_large_states_are_those_of_both_libraries(tmp_path, clips):
    model = of_transformers(LARGE)
    model.save_pretrained(tmp_path)
    net, _ = load(str(tmp_path), LARGE)
    shutil.rmtree(tmp_path)
    other = of_torchaudio(model)
    alone = [states(net, [wav]) for wav in clips]
    # un-normalised inner states reach 13: float32 leaves 1e-5 of that
    for mine, wav in zip(alone, clips, strict=True):
        close(mine, states_of_transformers(model, LARGE, wav), 2e-5)
        close(mine[1:], states_of_torchaudio(other, LARGE, wav), 2e-5)
    alone_and_together(states(net, clips), alone, 0)
    alone_and_together(padded(net, clips), alone, 2e-5)
