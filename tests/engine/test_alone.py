"""Heads on one depth alone, and linear ones: what `probe` trains."""

import json

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import run
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.exiting import TruncatedWeightedSum
from earlyexit_superb.downstreams.blstm_ctc import BLSTMCTC
from earlyexit_superb.downstreams.mask_blstm import MaskBLSTM
from helpers import STEPS, TOY


def test_alone_is_the_state_at_the_exit():
    states, depth = torch.randn(4, 3, 5, 6), torch.tensor([2, 0, 3])
    sum_ = TruncatedWeightedSum(5, alone=True)
    torch.nn.init.normal_(sum_.scores)
    assert torch.equal(sum_(states, depth), states[depth, torch.arange(3)])
    assert torch.equal(sum_.weights(4, depth), torch.eye(4)[:, depth])


@pytest.mark.parametrize(
    "head",
    [
        BLSTMCTC(6, symbols=4, hidden=5, layers=0),
        BLSTMCTC(6, symbols=4, hidden=5, layers=0, join=2),
        MaskBLSTM(6, bins=7, layers=0, sources=2),
    ],
    ids=["ctc", "ctc joined", "masks"],
)
def test_without_layers_a_head_is_linear(head):
    if isinstance(head, MaskBLSTM):
        head.activation = torch.nn.Identity()
    head, frames = head.eval(), torch.tensor([8, 8])
    x, y = torch.randn(2, 2, 8, 6)
    middle = (head(x, frames) + head(y, frames)) / 2
    assert torch.allclose(head((x + y) / 2, frames), middle, atol=1e-6)


@pytest.mark.usefixtures("shared_cache")
def test_depth_0_alone_is_depth_0_and_other_depths_have_no_sum(corpus, tmp_path):
    few = {"steps": "6", "eval_every": "3", "batch": "3", "exits": "0,alone:0,alone:2"}
    about = {"data": corpus, "results": tmp_path, "settings": few}
    exp = resolve(RunConfig(TOY, "se", protocol="mini", **about))
    names = ("depth 0", "depth 0 alone", "depth 2 alone")
    made, refused = run.results(exp, rows=[row for row in exp.rows if row.cell.exit in names])
    sum_, alone, deeper = sorted(made, key=lambda result: names.index(result.cell.exit))
    assert alone.scores == sum_.scores and not refused
    assert deeper.layer_weights == (0.0, 0.0, 1.0) and deeper.depth == 2.0
    assert deeper.cost.time_saved is None  # no system: it is not timed


def test_a_second_probe_makes_nothing_and_prints_the_same(
    corpus, tmp_path, shared_cache, capsys, monkeypatch
):
    line = ["probe", "--task", "se", "--data", str(corpus), "--protocol", "mini", "--seed", "0"]
    line += ["--depths", "0", "--linear", "--results", str(tmp_path), *STEPS]
    assert main(line) == 0
    said, table = capsys.readouterr().out, (tmp_path / "probe.csv").read_bytes()
    assert "hubert.tiny, one depth at a time, pesq" in said
    rows = [json.loads(p.read_text()) for p in tmp_path.glob("se/*/*/*/*.json")]
    assert len(rows) == 2 and all(r["detail"]["protocol"]["layers"] == 0 for r in rows)
    assert {r["cell"]["exit"] for r in rows} == {"depth 0 alone"}
    monkeypatch.setattr(run, "_make", lambda exp, missing, *rest: [] if not missing else 1 / 0)
    assert main(line) == 0
    assert capsys.readouterr().out == said and (tmp_path / "probe.csv").read_bytes() == table


def test_an_upstream_without_random_weights_is_refused(capsys):
    assert main(["probe", "--upstream", TOY, "--task", "se"]) == 2
    assert "has no option `weights`" in capsys.readouterr().err
