"""Each line of the contract, by a toy that needs it: checked, run, recorded, replayed and live."""

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from helpers.toy_runs import flags, rows, spec
from toys.contract import (
    AnswersAfterwards,
    AnswersAtTheEnd,
    AnswersBesides,
    Halved,
    SelfAnswering,
    Slow,
    Slower,
    Tuned,
    TwoBlocks,
)
from toys.toy import Toy

pytestmark = pytest.mark.usefixtures("shared_cache")


TOYS = (
    *(SelfAnswering, AnswersAfterwards, AnswersAtTheEnd, AnswersBesides),
    *(Slow, Slower, Tuned, TwoBlocks, Halved),
)


@pytest.mark.parametrize("toy", TOYS, ids=lambda t: t.__name__)
def test_every_toy_passes_the_check(toy):
    assert [f.sentence for f in check_upstream(toy().eval()) if not f.ok] == []


def test_depths_without_a_branch_are_neither_computed_nor_charged_nor_recorded(spoken):
    up, items = (
        SelfAnswering().eval(),
        tasks.get("asr").corpus(spoken, tasks.get("asr").protocols["mini"]).splits["test"],
    )
    asked, evidence = [], up.evidence
    up.evidence = lambda depth, *a, **k: (asked.append(depth), evidence(depth, *a, **k))[1]
    wav = tasks.get("asr").load(items[0]).wav[None]
    run_until_exit(up, wav, torch.tensor([wav.shape[1]]), Exit(leaving(up), -1.0))
    assert asked == [2, 4]
    kept = cached_features(up, items, tasks.get("asr").load, "asr test", keep="answers")
    assert (
        kept.evidence.shape == (5, 2) and np.isfinite(kept.evidence).all() and set(asked) == {2, 4}
    )
    with pytest.raises(UsageError, match="no branch at depth 3; it can leave at 2, 4, 6"):
        run_until_exit(up, wav, torch.tensor([wav.shape[1]]), Exit((3, 6), 0.5))


def test_a_tuned_upstream_is_refused_elsewhere_and_shown_where_it_belongs(
    corpus, spoken, tmp_path, capsys
):
    assert main(flags(Tuned, corpus, "se", tmp_path)) == 2
    said = capsys.readouterr().err
    assert (
        "tuned was tuned on ten hours of tones and is only for asr, not for se" in said
        and said.count("error:") == 1
    )
    assert main(flags(Tuned, spoken, "asr", tmp_path, "--span", "mean")) == 0
    assert "ten hours of tones" in capsys.readouterr().out
    board = pd.read_csv(tmp_path / "leaderboard_asr.csv")
    assert (board["tuned_on"] == "ten hours of tones").sum() == len(board)


@pytest.mark.parametrize("toy", [Slow, Slower, Halved, TwoBlocks], ids=lambda t: t.__name__)
@pytest.mark.parametrize("task", ["se", "asr"])
def test_any_stride_runs_and_its_replay_is_the_live_run(toy, task, corpus, spoken, tmp_path):
    data = spoken if task == "asr" else corpus
    assert main(flags(toy, data, task, tmp_path, "--span", "min-max")) == 0
    [adaptive] = [r for r in rows(tmp_path, task) if r["cell"]["exit"] == "adaptive"]
    exit = Exit(
        tuple(adaptive["detail"]["exit"]["depths"]), adaptive["detail"]["exit"]["tau"] or -np.inf
    )
    run = resolve(RunConfig(spec(toy), task, data=data, protocol="mini", results=tmp_path))
    histogram = [0] * (run.upstream.card.depth + 1)
    for item in run.splits["test"]:
        wav = run.task.load(item).wav[None]
        histogram[
            int(run_until_exit(run.upstream, wav, torch.tensor([wav.shape[1]]), exit).depth)
        ] += 1
    assert histogram == adaptive["exit_histogram"]


def test_a_shortened_waveform_costs_what_the_inner_upstream_hears():
    up = Halved()
    assert up.macs(16_000, 2) == Toy().macs(8_000, 2) + 16_000 and up.evidence_macs(
        16_000, 1
    ) == Toy().evidence_macs(8_000, 1)
    wav = torch.randn(1, 16_001)
    states, inner = (
        list(up.states(wav, torch.tensor([16_001]))),
        up.transform(wav, torch.tensor([16_001])),
    )
    for a, b in zip(states, Toy().states(inner, torch.tensor([inner.shape[1]])), strict=True):
        assert torch.equal(a, b)


def test_a_block_plan_is_the_same_blocks_in_another_order():
    plan, whole = build_upstream("block_plan", {"blocks": "1-3"}), build_upstream("hubert.tiny")
    wav, length = 0.1 * torch.randn(1, 8000), torch.tensor([8000])
    with torch.no_grad():
        for a, b in zip(plan.states(wav, length), whole.states(wav, length), strict=False):
            assert torch.equal(a, b)
        assert len(list(plan.states(wav, length))) == plan.card.depth + 1 == 4
        skipped = list(build_upstream("block_plan", {"blocks": "1/3"}).states(wav, length))
        by_hand = whole.net.block(3, skipped[1], None)
    assert torch.equal(skipped[2], by_hand)
    assert build_upstream("block_plan", {"blocks": "1-12:2"}).macs(16_000, 6) == whole.macs(
        16_000, 6
    )
    for bad, said in (
        ("0-3", "not among"),
        ("13", "not among"),
        ("a", "written like"),
        ("3-1", "not among"),
    ):
        with pytest.raises(UsageError, match=said):
            build_upstream("block_plan", {"blocks": bad})
    assert whole.with_blocks((1, 3)).card.name == "hubert.tiny(blocks=1/3)"
    with pytest.raises(UsageError, match="toy cannot skip, drop or reorder blocks"):
        Toy().with_blocks((1,))


def test_entropy_branches_sit_on_any_backbone():
    up = build_upstream("daisy", {"backbone": spec(Slow), "branches": "random"}).eval()
    assert up.card.stride == 640 and up.card.depth == 3 and up.backbone is up.inner
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []


def test_a_backbones_row_is_the_same_whoever_exits_from_it(corpus, tmp_path):
    more = ("--span", "mean", f"--set=backbone={spec(Slow)}", "--set=branches=random")
    assert main(["--upstream", "daisy", *flags(Slow, corpus, "se", tmp_path, *more)[2:]]) == 0
    alone = Parameters(Slow()).all / 1e6
    for made in rows(tmp_path, "se"):
        if made["cell"]["exit"] in ("full", "depth 1"):
            assert made["cell"]["upstream"] == "toy(stride=640)"
            assert made["cost"]["params_all_m"] == pytest.approx(alone)
        elif made["cell"]["exit"] == "adaptive":
            assert made["cost"]["params_all_m"] != pytest.approx(alone)


def test_layer_similarity_aims_half_way_on_any_backbone():
    assert build_upstream("layer_similarity").knob_values == (6.0,)
    for backbone, aim in ((Slow, 1.0), (SelfAnswering, 2.0)):
        up = build_upstream("layer_similarity", {"backbone": spec(backbone)})
        assert up.knob_values == (aim,)
        assert [f.sentence for f in check_upstream(up) if not f.ok] == []


def test_layout_and_comments_of_an_upstream_do_not_change_the_key_of_its_trace(tmp_path):
    from earlyexit_superb.benchmark.engine.cache_key import _parsed

    plain, dressed, other = (tmp_path / f"{n}.py" for n in "abc")
    plain.write_text("def f(x):\n    return x + 1\n")
    dressed.write_text(
        '"""A file."""\n# why\ndef f(x):\n    """Adds."""\n    return (x\n        + 1)\n'
    )
    other.write_text("def f(x):\n    return x + 2\n")
    assert _parsed(plain) == _parsed(dressed) != _parsed(other)


def test_the_key_of_a_trace_sees_the_helpers_of_an_upstream_and_not_its_training():
    from earlyexit_superb.benchmark.engine.cache_key import modules_behind

    seen = modules_behind(build_upstream("daisy"))
    wanted = ("upstreams.backbones.hubert_shape", "upstreams.backbones.transformer")
    for name in (*wanted, "upstreams.hubert", "upstreams.daisy", "benchmark.masking"):
        assert f"earlyexit_superb.{name}" in seen
    assert not any("training" in name.split(".") for name in seen)
    assert not any(name.split(".")[0] == "torch" for name in seen)
