"""`midpoints`: thresholds at rho 1 beside the released ones."""

import csv
import json

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands.midpoints import released
from earlyexit_superb.benchmark.engine.evaluation import evaluation
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from helpers import ROOT, TOY

RELEASED = ROOT / "results" / "published_thresholds.csv"
pytestmark = pytest.mark.usefixtures("shared_cache")


def test_the_released_mid_points_are_round():
    """Means of two numbers with two decimals, which is why these are the rhos (protocol notes)."""
    assert released(RELEASED) == pytest.approx(
        {"asr": 0.735, "sid": 1.085, "se": 1.655, "ss": 1.13}
    )
    with RELEASED.open() as file:
        assert all(line["source"] for line in csv.DictReader(file))


def test_what_is_printed_is_the_calibration_of_a_run(corpus, tmp_path, capsys):
    table = tmp_path / "own.csv"
    table.write_text("task,tau,rho\nse,1.4,0.7\n")
    flags = ["midpoints", "--upstream", TOY, "--task", "se", "--data", f"se={corpus}"]
    flags += ["--protocol", "mini", "--published", str(table)]
    assert main([*flags, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    config = RunConfig(TOY, "se", {"rho": (1.0,)}, data=corpus, protocol="mini", results=tmp_path)
    exp = resolve(config)
    ev = evaluation(exp, [row for row in exp.rows if row.cell.exit == "adaptive"])
    assert line["midpoint"] == pytest.approx(ev.calibrated[1.0].tau, abs=1e-6)
    assert line["midpoint"] == pytest.approx((line["e_max"] + line["e_min"]) / 2)
    assert line["released"] == 2 and line["off"] == pytest.approx(line["midpoint"] - 2)
    assert line["off_percent"] == pytest.approx(50 * line["off"]) and line["n"] == 12
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert f"tau at rho 1 is {line['midpoint']:.3f} nats" in out and "released 2.000, -" in out


def test_random_branches_are_far_off(corpus, capsys):
    flags = ["midpoints", "--upstream", "daisy", "--task", "se", "--data", str(corpus)]
    assert main([*flags, "--set", "weights=random", "train_limit=3", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["n"] == 3 and line["released"] == 1.655 and line["off"] > 2


@pytest.mark.parametrize(
    "more, said",
    [
        (("--published", "nowhere.csv"), "nowhere.csv: No such file"),
        (("--published", "LIST"), "has no columns task, tau and rho with numbers"),
        (("--upstream", "hubert"), "hubert has no rho"),
    ],
)
def test_bad_input_is_one_sentence(corpus, tmp_path, capsys, more, said):
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    more = [word.replace("LIST", str(tmp_path / "list.csv")) for word in more]
    assert main(["midpoints", "--task", "se", "--data", str(corpus), *more]) == 2
    assert said in capsys.readouterr().err
