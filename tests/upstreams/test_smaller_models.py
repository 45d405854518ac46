"""DistilHuBERT, LayerDrop and layer removal as upstreams: sizes, rules, shipped weights."""

import json
import math

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream, upstreams
from earlyexit_superb.upstreams import layerdrop
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import macs_to
from earlyexit_superb.upstreams.distilhubert import DistilHubert
from helpers import DATA, ROOT, wav

SHIPPED = {"distilhubert.tiny": [1, 2], "layerdrop.tiny": [1, 3, 5, 7, 9, 11]}


def states(upstream, samples=8000):
    with torch.no_grad():
        return list(upstream.states(wav(samples)[None], torch.tensor([samples])))


def same(ours, theirs):
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def random(name, **options):
    return build_upstream(name, {"weights": "random"} | {k: str(v) for k, v in options.items()})


# ---- DistilHuBERT ----


def test_distilhubert_has_the_papers_size_and_cost():
    """23.49 M parameters; GMAC per second of 10 s of audio, there counted for 500 frames, of which
    the convolutions give 499.
    """
    for tag, parameters, gmacs in (("base", 23.49, 3.49), ("base8", 66.02, 5.85)):
        shape = DistilHubert.shape_of(tag)
        with torch.device("meta"):
            net = HubertNet(shape)
        millions = sum(p.numel() for p in net.parameters()) / 1e6
        assert millions == pytest.approx(parameters, abs=0.005)
        found = macs_to(shape, 160_000, shape.depth, projection=False) / 10 / 1e9
        assert found == pytest.approx(gmacs, rel=0.002)


def test_a_student_costs_what_its_teacher_costs_to_its_depth():
    student, teacher = random("distilhubert.tiny"), random("hubert.tiny")
    for depth in range(3):
        assert student.macs(50_000, depth) == teacher.macs(50_000, depth)
    assert student.card.kind == "distilled" and student.card.stepped and student.exits == (1, 2)


# ---- LayerDrop ----


@pytest.mark.parametrize(
    ("p", "dropped"),
    [
        (0, []),
        (0.1, [10]),  # HuBERT-EE's two rows: 1 and 4 of 12 blocks
        (0.3, [3, 6, 9, 12]),
        (0.2, [5, 10]),
        (1 / 3, [3, 6, 9, 12]),
        (0.5, [2, 4, 6, 8, 10, 12]),
        (0.05, []),
        (1 / 12, [12]),
    ],
)
def test_the_every_other_rule(p, dropped):
    left = layerdrop.kept(12, p)
    assert sorted({*range(1, 13)} - {*left}) == dropped and list(left) == sorted(left)


def test_a_reciprocal_is_not_rounded_down():
    for n in range(2, 200):
        assert layerdrop.kept(n, 1 / n) == tuple(range(1, n))
    assert layerdrop.kept(12, 5e-324) == tuple(range(1, 13))


@pytest.mark.parametrize("p", [0.51, -0.1, math.nan, math.inf])
def test_a_rate_that_leaves_nothing_is_refused(p):
    with pytest.raises(UsageError, match=r"p is a rate from 0 to 0\.5"):
        layerdrop.kept(12, p)


def test_pruned_models_are_plans_of_the_whole():
    whole = random("hubert.tiny")
    for p in (0.1, 0.3):
        plan = layerdrop.kept(12, p)
        pruned = random("layerdrop.tiny", p=p)
        same(states(pruned), states(whole.with_blocks(plan)))
        assert pruned.card.depth == len(plan) and pruned.card.kind == "pruned"
        assert pruned.macs(50_000, len(plan)) == whole.macs(50_000, len(plan))
    same(states(random("layer_removal.tiny", keep=4)), states(whole)[:5])
    same(
        states(random("layer_removal.tiny", keep=4)),
        states(random("block_plan", backbone="hubert.tiny", blocks="1-4")),
    )


def test_a_block_plan_of_fewer_blocks_is_pruned():
    kinds = [
        random("block_plan", backbone="hubert.tiny", blocks=plan).card.kind
        for plan in ("1-6", "1-12", "1-12/12")
    ]
    assert kinds == ["pruned", "", ""]


# ---- what is shipped ----


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_match_their_card(name):
    card = json.loads((ROOT / "upstreams" / f"{name}.json").read_text())
    teacher = json.loads((ROOT / "upstreams" / "hubert.tiny.json").read_text())
    upstream, kind = build_upstream(name), upstreams.get(name.partition(".")[0])
    assert upstream.card.revision == card["revision"] and card["name"] == name
    assert card["parameters"] == sum(p.numel() for p in upstream.net.parameters())
    assert card["teacher_revision"] == teacher["revision"] and card["blocks"] == SHIPPED[name]
    preset = json.loads(json.dumps(vars(kind.trained_by.presets["tiny"])))
    assert card["recipe"] == preset and sum(card["hours"].values()) > 4
    assert card["last_look"]["step"] == preset["steps"] and not card["last_look"]["skipped"]
    front = build_upstream("hubert.tiny").net.feature_extractor.state_dict()
    ours = upstream.net.feature_extractor.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in front.items())


def test_what_is_shipped_is_small():
    sizes = [(ROOT / "upstreams" / f"{name}.safetensors").stat().st_size for name in SHIPPED]
    assert sum(sizes) <= 8e6


def test_training_brought_the_pruned_model_nearer_to_the_whole():
    """On noise, which no training heard; the same blocks untrained are `block_plan`'s."""
    untrained = build_upstream("block_plan", {"blocks": "1-12:2"})

    def last(upstream):
        with torch.no_grad():
            return list(upstream.states(wav(32_000)[None], torch.tensor([32_000])))[-1]

    whole = last(build_upstream("hubert.tiny"))
    near, far = (
        (last(upstream) - whole).square().mean()
        for upstream in (build_upstream("layerdrop.tiny"), untrained)
    )
    assert near < 0.9 * far


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["distilhubert", "layerdrop", "layer_removal"])
def test_a_run_at_base_size_on_real_recordings(tmp_path, own_cache, name):
    recordings = DATA / "VoiceBank-DEMAND"
    if not recordings.is_dir():
        pytest.skip(f"the real recordings are not beside the checkout: {recordings}")
    few = ["steps=2", "eval_every=2", "batch=2", "train_limit=2", "dev_limit=1", "test_limit=2"]
    words = ["--upstream", f"{name}.base", "--task", "se", "--protocol", "mini"]
    words += ["--data", str(recordings), "--results", str(tmp_path)]
    assert main([*words, "--set", "weights=random", *few]) == 0
    rows = [json.loads(path.read_text()) for path in tmp_path.glob("se/*/*/*/*.json")]
    named = {row["cell"]["upstream"] for row in rows}
    assert named == {f"{name}.base(weights=random)", "unprocessed"}
