"""HuBERT Base is the source libraries' own, at every depth, alone and in any batch."""

import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import frame_counts
from earlyexit_superb.upstreams.backbones.hubert_weights import content_hash, load
from helpers.hubert import BASE, SAMPLES, alone_and_together, close, padded, states
from helpers.libraries import (
    doubled,
    logits_of_s3prl,
    of_s3prl,
    of_torchaudio,
    of_transformers,
    states_of_torchaudio,
    states_of_transformers,
)
from torch import Tensor, nn


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Base as a model of transformers, and as a Hugging Face folder."""
    home = tmp_path_factory.mktemp("base")
    model = of_transformers(BASE)
    model.save_pretrained(home / "folder")
    yield SimpleNamespace(model=model, folder=home / "folder", home=home)
    shutil.rmtree(home)  # pytest would keep three runs' copies


@pytest.fixture(scope="module")
def converted(published) -> SimpleNamespace:
    """The same as a model of torchaudio, and as the file that its bundle would have downloaded."""
    model = of_torchaudio(published.model)
    file = published.home / "hub" / "checkpoints" / "hubert_fairseq_base_ls960.pth"
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    return SimpleNamespace(model=model, file=file)


@pytest.fixture(scope="module")
def base(published) -> HubertNet:
    return load(str(published.folder), BASE)[0]


@pytest.fixture(scope="module")
def ours(base, clips) -> list[list[Tensor]]:
    """Every clip alone."""
    return [states(base, [wav]) for wav in clips]


@pytest.mark.parametrize("clip", range(len(SAMPLES)))
def test_base_states_are_those_of_transformers_at_all_13_depths(published, ours, clips, clip):
    close(ours[clip], states_of_transformers(published.model, BASE, clips[clip]))


@pytest.mark.parametrize("clip", range(len(SAMPLES)))
def test_base_states_are_those_of_torchaudio_at_all_12_depths(converted, ours, clips, clip):
    close(ours[clip][1:], states_of_torchaudio(converted.model, BASE, clips[clip]))


@pytest.mark.slow
def test_base_states_and_logits_are_those_of_s3prl(tmp_path, clips):
    expert = of_s3prl(BASE, tmp_path / "converted.pt")
    net, _ = load(str(tmp_path / "converted.pt"), BASE)
    (tmp_path / "converted.pt").unlink()
    for wav in clips:
        mine = states(net, [wav])
        with doubled(expert):
            close(mine, [x.float() for x in expert([wav.double()])["hidden_states"]])
        with torch.no_grad():
            close([net.head(mine[-1])[0]], [logits_of_s3prl(expert.model, mine[-1])])


def test_one_set_of_weights_has_one_revision_from_every_source(
    published, converted, base, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(published.home))  # the bundle finds its download there
    revision = content_hash(base)
    assert len(revision) == 12
    for source in (converted.file, "torchaudio:HUBERT_BASE"):
        net, same = load(str(source), BASE)
        assert same == revision and net.head is None and not net.training


def test_a_batch_changes_no_state_of_the_group_norm_model(base, clips, ours):
    # not a bit: on the CPU every utterance runs by itself
    alone_and_together(states(base, clips), ours, 0)
    alone_and_together(padded(base, clips), ours)


def test_base_without_its_own_care_would_change(base, clips, ours):
    """The test above can fail: with the statistics of the padded batch the states do move."""
    lengths = torch.full((len(clips),), max(SAMPLES))
    with torch.no_grad():
        x = base.project(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
        frames = frame_counts(SAMPLES[0])
        assert (base.position(x)[0, : frames - 10] - ours[0][0][0, : frames - 10]).abs().max() > 0.1
