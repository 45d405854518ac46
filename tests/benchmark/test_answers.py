"""Upstreams that answer by themselves: what is recorded, replayed, charged and shown."""

import json
from argparse import Namespace

import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import sweep
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from helpers.toy_runs import flags, rows, spec
from toys.contract import (
    AnswersAfterwards,
    AnswersAtTheEnd,
    AnswersBesides,
    SelfAnswering,
    Slow,
)

pytestmark = pytest.mark.usefixtures("shared_cache")


ANSWERING = (SelfAnswering, AnswersAfterwards)


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
        main(
            flags(
                toy, spoken, "asr", tmp_path, "--set", "exits=oracle,random,static,batch:2,sorted:2"
            )
        )
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
        "batches of 2 by length",
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
    assert {"full", "depth 0", "depth 3", "adaptive", "unprocessed"} == set(made)
    assert made.pop("unprocessed")["answered_by"] == ""  # nobody answered
    assert {r["answered_by"] for r in made.values()} == {"head"}


@pytest.mark.parametrize("toy", ANSWERING, ids=lambda t: t.__name__)
def test_thresholds_are_chosen_for_answers_as_for_heads(toy, spoken, tmp_path):
    asked = ("--budget", "5%", "--max-loss", "99", "--delta", "0.5")
    assert main(flags(toy, spoken, "asr", tmp_path, "--span", "all", *asked)) == 0
    by = {r["cell"]["exit"]: r["detail"] for r in rows(tmp_path, "asr")}
    budget, loss = by["budget 5%"]["budget"], by["max loss 99 delta 0.5"]["max_loss"]
    assert budget["saved"] >= budget["target"] == 5
    assert loss["passed"] == loss["tried"] >= 1 and loss["held"] and loss["n"] >= 1


def test_thresholds_that_never_or_always_fire_are_said(spoken, tmp_path, capsys):
    line = flags(SelfAnswering, spoken, "asr", tmp_path, "--set", "exits=tau:-1,tau:99")
    for _ in range(2):  # what is there is told again
        assert main(line) == 0
        out, said = capsys.readouterr()
        assert said.count("never fires") == said.count("always fires") == 1
        assert "exits by depth, selfanswering tau -1.0: 6:5█" in out
        assert "exits by depth, selfanswering tau 99.0: 2:5█" in out
    assert main([*line, "--json"]) == 0
    told = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    sweep._print(told, Namespace(results=tmp_path, json=True, reference=None))
    said = capsys.readouterr().err
    assert said.count("never fires") == said.count("always fires") == 1
