"""Students with layers of their own, such as FitHuBERT and ARMHuBERT: static rows by the expert
that they were published with, never a HuBERT with something left out."""

import sys

import pytest
import torch
import yaml
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.fairseq_parts import fairseq_parts
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.s3prl_expert import _from_file
from helpers import ROOT, wav
from oracles import s3prl_module

EXPERT = ROOT / "tests" / "toys" / "thin_student" / "expert.py"
CONFIG = {"encoder_layers": 2, "encoder_embed_dim": 32, "pred_head_final_dim": 48}


@pytest.fixture
def student(tmp_path):
    """Options that name its checkpoint and configuration, and the network."""
    s3prl_module("upstream.wav2vec2.wav2vec2_model")
    with fairseq_parts():
        package = _from_file(str(EXPERT), "").__module__.rpartition(".")[0]
    model = sys.modules[f"{package}.model"]
    torch.manual_seed(0)
    net = model.Student(model.StudentConfig(**CONFIG)).eval().requires_grad_(False)
    state = {f"student_model.{k}": v for k, v in net.state_dict().items()}
    state["teacher_model.model.mask_emb"] = torch.zeros(8)
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {}}, tmp_path / "w.ckpt")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"distiller": CONFIG}))
    return {"ckpt": str(tmp_path / "w.ckpt"), "model_config": str(tmp_path / "c.yaml")}, net


def built(given, **more):
    return build_upstream(f"s3prl:{EXPERT}", given | more)


def refused(given, kind=UsageError, **more):
    with pytest.raises(kind) as said:
        built(given, **more)
    assert "\n" not in str(said.value)
    return str(said.value)


@torch.no_grad()
def test_a_published_expert_is_a_static_row(student):
    given, net = student
    upstream = built(given, feature="last_hidden_state")
    assert "fairseq" not in sys.modules
    card, clip = upstream.card, wav(12_345)
    assert (card.depth, card.dim, card.stride, card.stepped) == (0, 48, 320, False)
    assert card.name.endswith("(ckpt=w.ckpt, model_config=c.yaml, feature=last_hidden_state)")
    theirs, _ = net(clip[None])
    [ours] = upstream.states(clip[None], torch.tensor([12_345]))
    # 38 frames; their rate was halved and doubled, and 320 samples each rounded up are 39
    assert theirs.shape[1] == 38 and torch.equal(ours[:, :38], theirs)
    assert torch.equal(ours[:, 38:], theirs[:, 37:])
    assert not [found.sentence for found in check_upstream(upstream) if not found.ok]


def test_what_it_does_not_take_is_one_sentence(student, tmp_path):
    given, _ = student
    assert "--set feature=last_hidden_state" in refused(given)
    assert "not 'all'" in refused(given, feature="all")
    ckpt, config = {"ckpt": given["ckpt"]}, tmp_path / "other.yaml"
    assert "--set model_config=FILE" in refused(ckpt)
    assert "cannot be read as YAML" in refused(ckpt, model_config=str(config))
    config.write_text("distiller: {conv_feature_layers: \"__import__('os').system('x')\"}")
    assert "would run as code" in refused(ckpt, model_config=str(config))
    config.write_text("a: !!python/name:os.system")
    assert "cannot be read as YAML" in refused(ckpt, model_config=str(config))


@pytest.mark.parametrize(
    "line", ["import fairseq.checkpoint_utils", "from fairseq.modules import AdaptiveSoftmax"]
)
def test_what_s3prl_has_no_copy_of_needs_fairseq(tmp_path, line):
    s3prl_module("upstream.wav2vec2.wav2vec2_model")
    (tmp_path / "expert.py").write_text(line)
    with pytest.raises(MachineError, match="needs fairseq, which cannot be installed") as said:
        build_upstream(f"s3prl:{tmp_path / 'expert.py'}")
    assert line.rpartition(" ")[2] in str(said.value)


@pytest.mark.parametrize("upstream", ["hubert.base", "distilhubert.own"])
def test_its_weights_are_no_huberts_and_the_sentence_says_where_they_run(
    student, tmp_path, upstream
):
    given, net = student
    alone = tmp_path / "alone.pt"
    torch.save(net.state_dict(), alone)
    for file in (given["ckpt"], str(alone)):
        with pytest.raises(UsageError) as said:
            build_upstream(upstream, {"weights": file})
        assert f"--upstream s3prl:FOLDER/expert.py --set ckpt={file}" in str(said.value)
