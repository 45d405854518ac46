"""Many cells at once: the grid, what a death costs, and that the numbers are
those of one process.
"""

import json

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import sweep
from earlyexit_superb.benchmark.engine import sweep_grid, sweep_local
from helpers import ROOT, STEPS, TOY

HALVED = f"{ROOT / 'tests' / 'toys' / 'contract.py'}:Halved"
MORTAL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toys.toy import Toy
class Mortal(Toy):
    def states(self, wavs, lengths):
        flag = Path({flag!r})
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().states(wavs, lengths)
"""


def jobs(*words):
    cells = sweep_grid.grid(sweep.parsed(words))
    return [cell.command.removeprefix("run_benchmark.py ") for cell in cells]


def test_the_grid_is_a_product_and_rhos_stay_together():
    lines = jobs(
        "--upstream",
        "daisy",
        "hubert",
        "--task",
        "se",
        "--seed",
        "0",
        "1",
        "--rho",
        "0.7",
        "1.0",
        "--span",
        "mean",
    )
    assert lines == [
        f"--upstream {u} --task se --seed {s} --results results/local --device cpu{more} --json"
        for u, more in (("daisy", " --knob rho=0.7,1 --span mean"), ("hubert", ""))
        for s in (0, 1)
    ]
    assert (
        len(jobs("--upstream", "daisy", "hubert", "--task", "se", "--rho", "0.7", "1.0", "--apart"))
        == 3
    )


def test_a_wrapper_turns_the_knob_of_what_it_wraps():
    [line] = jobs("--upstream", HALVED, "--task", "se", "--rho", "0.5", "--span", "mean")
    assert "--knob rho=0.5 --span mean" in line


def test_shards_share_the_grid_out():
    cells = list(range(11))
    shares = [sweep_grid.shard(cells, f"{i}/4") for i in range(1, 5)]
    assert (
        sorted(cell for share in shares for cell in share) == cells
        and max(map(len, shares)) - min(map(len, shares)) <= 1
    )


def test_a_file_gives_the_same_grid_and_the_command_line_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vb").mkdir()
    (tmp_path / "g.yaml").write_text(
        "upstream: [daisy, hubert]\n"
        "task: se\n"
        "seed: [0, 1]\n"
        "rho: 0.7\n"
        "data: {se: vb}\n"
        "set: {steps: 5}\n"
    )
    flags = [
        "--upstream",
        "daisy",
        "hubert",
        "--task",
        "se",
        "--rho",
        "0.7",
        "--data",
        "se=vb",
        "--set",
        "steps=5",
        "--seed",
    ]
    assert jobs("--config", "g.yaml") == jobs(*flags, "0", "1")
    assert jobs("--config", "g.yaml", "--seed", "3") == jobs(*flags, "3")


def test_a_cell_that_died_is_started_again_and_one_that_says_why_is_not(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; n = len(Path(sys.argv[1]).read_text()); "
        "open(sys.argv[1], 'a').write('x')\n"
        "print('{}') if n == 2 else os.kill(os.getpid(), 9)"
    )
    (tmp_path / "count").write_text("")
    assert sweep_local.attempt(
        ["-c", code, str(tmp_path / "count")], str(tmp_path / "log"), {}, ".", 2
    ) == (0, "{}\n", 3)
    (tmp_path / "count").write_text("")
    assert sweep_local.attempt(
        ["-c", code, str(tmp_path / "count")], str(tmp_path / "log"), {}, ".", 1
    )[::2] == (-9, 2)
    assert sweep_local.attempt(["-c", "raise SystemExit(2)"], str(tmp_path / "log"), {}, ".", 5)[
        ::2
    ] == (
        2,
        1,
    )


def test_a_failed_cell_is_one_sentence_with_its_command_and_the_others_are_made(
    tmp_path, monkeypatch, capsys
):
    row = {"task": "se", "upstream": "toy"}
    monkeypatch.setattr(
        sweep_local,
        "words",
        lambda cell: [
            "-c",
            "import sys; print('error: it is too loud', file=sys.stderr); sys.exit(2)"
            if "1" in cell.argv
            else f"print({json.dumps(json.dumps(row))})",
        ],
    )
    line = [
        "sweep",
        "--upstream",
        TOY,
        "--task",
        "se",
        "--seed",
        "0",
        "1",
        "2",
        "--results",
        str(tmp_path),
        "--workers",
        "2",
        "--json",
    ]
    assert main(line) == 1
    out, err = capsys.readouterr()
    assert [json.loads(text) for text in out.splitlines()] == [row]
    said = [text for text in err.splitlines() if text.startswith("error: ")]
    assert (
        len(said) == 2
        and "seed 1: exit status 2: it is too loud" in said[0]
        and "alone: run_benchmark.py --upstream" in said[0]
    )
    assert "1 of 3 cells failed" in said[1] and len(list((tmp_path / "sweep").glob("*.log"))) == 1


def lasting(results):
    """Everything but times, machine and command."""
    out = {}
    for path in sorted(results.glob("se/*/*/*/*.json")):
        result = json.loads(path.read_text())
        del result["device"]
        for key in ("time_saved", "time_saved_low", "time_saved_high", "rtfx", "peak_mib"):
            del result["cost"][key]
        for key in ("command", "finished", "digests"):
            del result["detail"][key]
        result["detail"].get("training", {}).pop("device", None)
        result["detail"].pop("timing", None)
        out[path.relative_to(results)] = (
            json.dumps(result),
            path.with_suffix(".utterances.csv").read_bytes(),
        )
    return out


def everywhere(corpus, results):
    return ["--data", str(corpus), "--protocol", "mini", "--results", str(results), *STEPS]


def mortal(tmp_path):
    (tmp_path / "mortal.py").write_text(
        MORTAL.format(tests=str(ROOT / "tests"), flag=str(tmp_path / "flag"))
    )
    return f"{tmp_path / 'mortal.py'}:Mortal"


def unfinished(folder):
    ends = (".part", ".lock", ".log")
    return [p for p in folder.rglob("*") if p.suffix in ends or "unfinished" in p.name]


def one_by_one(upstream, more):
    """The runs of two seeds, in this process, with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for seed in ("0", "1"):
        assert main(["--upstream", upstream, "--task", "se", "--seed", seed, *more]) == 0
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_killed_worker_costs_one_cell_and_the_numbers_are_those_of_one_process(
    corpus, tmp_path, own_cache, capsys, monkeypatch
):
    upstream, many, one = mortal(tmp_path), tmp_path / "many", tmp_path / "one"
    line = ["sweep", "--upstream", upstream, "--task", "se", "--seed", "0", "1"]
    line += ["--workers", "2", "--threads", "1", *everywhere(corpus, many)]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "flag").exists() and "(started 2 times)" in err
    assert out.count("min-max") == 3 and "mean of 2" in out
    assert "seed" in out.splitlines()[0].split()
    assert unfinished(many) == unfinished(own_cache) == []
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "other"))
    one_by_one(upstream, everywhere(corpus, one))
    assert lasting(many) == lasting(one) and len(lasting(one)) == 13


@pytest.mark.slow
def test_over_ray(corpus, tmp_path, own_cache, capsys):
    """The same cells, a worker dying among them, on a Ray of this machine; a second sweep, without
    Ray, finds nothing to do.
    """
    line = [
        "sweep",
        "--upstream",
        mortal(tmp_path),
        "--task",
        "se",
        "--seed",
        "0",
        "1",
        "--threads",
        "1",
        *everywhere(corpus, tmp_path / "r"),
    ]
    assert main([*line, "--ray", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert "(started 2 times)" in err
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("se/**/*")}
    assert main(line) == 0 and capsys.readouterr().out == out and len(lasting(tmp_path / "r")) == 13
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("se/**/*")} == stamps
