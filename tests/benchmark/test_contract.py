"""Each line of the contract, by a toy that needs it: checked, run, recorded,
replayed and run live.
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from helpers import ROOT, STEPS
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
ANSWERING = (SelfAnswering, AnswersAfterwards)


def spec(toy: type) -> str:
    return f"{ROOT / 'tests' / 'toys' / 'contract.py'}:{toy.__name__}"


@pytest.fixture(scope="session")
def spoken(tmp_path_factory):
    """Tones that stand for words, with a list: enough for recognition to run."""
    root, rng, lines = tmp_path_factory.mktemp("spoken"), np.random.default_rng(0), []
    for split, count in (("train", 8), ("dev", 3), ("test", 5)):
        for i in range(count):
            words = [chr(ord("A") + int(k)) for k in rng.integers(8, size=2)]
            parts = [np.sin(np.arange(12_000) * (200 + 90 * ord(w)) / 16_000) for w in words]
            wav = 0.1 * np.concatenate(parts)[: int(rng.integers(20_000, 24_000))]
            path = root / split / f"{split}{i}.wav"
            audio.write(path, (wav + 0.01 * rng.standard_normal(len(wav))).astype(np.float32))
            lines.append(
                {"path": str(path), "split": split, "speaker": f"s{i}", "text": " ".join(words)}
            )
    pd.DataFrame(lines).to_csv(root / "list.csv", index=False)
    return root / "list.csv"


def flags(toy, data, task, out, *more):
    return [
        "--upstream",
        spec(toy),
        "--task",
        task,
        "--data",
        str(data),
        "--protocol",
        "mini",
        "--results",
        str(out),
        *STEPS,
        *(["bucket=0"] if task == "asr" else []),
        *more,
    ]


def rows(root, task):
    return [json.loads(p.read_text()) for p in sorted(root.glob(f"{task}/**/*.json"))]


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


@pytest.mark.parametrize("toy", ANSWERING, ids=lambda t: t.__name__)
@pytest.mark.parametrize("tau", [-1.0, 0.6, 9.0])
def test_answers_are_recorded_as_given_and_replayed_exactly(toy, tau, spoken):
    from earlyexit_superb.benchmark.exiting import replay

    task, up = tasks.get("asr"), toy().eval()
    items = task.corpus(spoken, task.protocols["mini"]).splits["test"]
    kept, exit = (
        cached_features(up, items, task.load, "asr test", keep="answers"),
        Exit(leaving(up), tau),
    )
    depth = replay(kept.evidence, exit, up.exits)
    for i, item in enumerate(items):
        wav = task.load(item).wav[None]
        live = run_until_exit(up, wav, torch.tensor([wav.shape[1]]), exit)
        assert int(live.depth[0]) == depth[i]
        assert torch.equal(live.answers[0], kept.answer(i, int(depth[i])))


def test_an_answer_is_computed_once_where_the_evidence_reads_it_and_once_at_the_exit_elsewhere(
    spoken,
):
    wavs, lengths = 0.1 * torch.randn(4, 16_000), torch.full((4,), 16_000)
    for toy, per_row in ((SelfAnswering, 3), (AnswersAfterwards, 1)):
        up = toy().eval()
        toy.calls = 0
        run_until_exit(up, wavs, lengths, Exit(leaving(up), -1.0))  # nobody leaves early
        assert toy.calls == 4 * per_row  # 2, 4 and 6; or 6 alone
        toy.calls = 0
        run_until_exit(up, wavs, lengths, Exit(leaving(up), 99.0))  # everybody leaves at 2
        assert toy.calls == 4


@pytest.mark.parametrize("toy", ANSWERING, ids=lambda t: t.__name__)
def test_a_row_says_that_its_upstream_answered_and_no_head_is_trained(
    toy, spoken, tmp_path, capsys
):
    assert (
        main(flags(toy, spoken, "asr", tmp_path, "--set", "exits=oracle,random,static,batch:2"))
        == 0
    )
    out, made = capsys.readouterr().out, rows(tmp_path, "asr")
    assert "answered_by" in out and "tuned_on" in out and "nothing" in out
    assert {r["answered_by"] for r in made} == {"upstream"} and not list(
        (tmp_path / "heads").glob("*.safetensors")
    )
    by = {(r["cell"]["exit"], r["cell"]["span"]): r for r in made}
    assert {e for e, _ in by} >= {
        "full",
        "depth 2",
        "depth 4",
        "adaptive",
        "oracle",
        "random",
        "batches of 2",
    }
    for r in made:
        assert sum(r["exit_histogram"][k] for k in (2, 4, 6)) == 5 == r["scores"]["wer"]["n"]
    up = toy()
    tested = by["adaptive", "min-max"]["detail"]["exit"]["depths"][:-1]
    items = tasks.get("asr").corpus(spoken, tasks.get("asr").protocols["mini"]).splits["test"]
    [csv] = tmp_path.glob("asr/**/*adaptive*min-max*.csv")
    expected = 0
    for item, left in zip(items, pd.read_csv(csv)["depth"], strict=True):
        asked = [k for k in tested if k <= left]
        answered = {left, *(asked if up.evidence_reads_answer else ())}
        expected += up.macs(item.samples, left) + sum(
            up.evidence_macs(item.samples, k) for k in asked
        )
        expected += sum(up.answer_macs(item.samples, k) for k in answered)
    seconds = sum(item.samples for item in items) / 16_000
    assert by["adaptive", "min-max"]["cost"]["gmacs_per_s"] == pytest.approx(
        expected / seconds / 1e9
    )


def test_one_answer_at_the_end_is_one_row(spoken, tmp_path):
    assert main(flags(AnswersAtTheEnd, spoken, "asr", tmp_path)) == 0
    [made] = rows(tmp_path, "asr")
    assert made["cell"]["exit"] == "full" and made["answered_by"] == "upstream"


def test_an_exit_rule_around_whoever_answers_leaves_where_that_has_an_answer(spoken, tmp_path):
    settings = {"backbone": spec(SelfAnswering)}
    up = build_upstream("layer_similarity", settings)
    assert up.exits == (2, 4) and [f.sentence for f in check_upstream(up) if not f.ok] == []
    more = ("--knob", "target_depth=4", f"--set=backbone={spec(SelfAnswering)}")
    assert (
        main(["--upstream", "layer_similarity", *flags(Slow, spoken, "asr", tmp_path, *more)[2:]])
        == 0
    )
    made = {r["cell"]["exit"]: r for r in rows(tmp_path, "asr")}
    assert set(made) == {"full", "depth 2", "adaptive"}
    assert made["full"]["cell"]["upstream"] == "selfanswering"
    assert made["adaptive"]["exit_histogram"][1::2] == [0, 0, 0]


def test_a_task_that_it_does_not_answer_gets_heads_at_any_depth(corpus, tmp_path):
    more = ("--span", "mean", "--set", "exits=3")
    assert main(flags(AnswersBesides, corpus, "se", tmp_path, *more)) == 0
    made = {r["cell"]["exit"]: r for r in rows(tmp_path, "se")}
    assert {"full", "depth 3", "adaptive", "unprocessed"} == set(made)
    assert {r["answered_by"] for r in made.values()} == {"head"}


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
