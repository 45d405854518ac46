"""`import earlyexit_superb`: with everything there, with the core alone, and
with next to nothing.
"""

import doctest
import re
import shutil
import subprocess
import sys

import earlyexit_superb
import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.extras import CORE
from helpers import ROOT, TOY


def test_the_example_of_its_docstring():
    assert doctest.testmod(earlyexit_superb, raise_on_error=True).attempted == 4


def test_every_public_name_is_there_and_no_other():
    for name in earlyexit_superb.__all__:
        assert getattr(earlyexit_superb, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", earlyexit_superb.__version__)
    with pytest.raises(AttributeError, match="no attribute 'Exits'"):
        earlyexit_superb.Exits  # noqa: B018
    from earlyexit_superb.benchmark.exiting import Exit

    assert earlyexit_superb.Exit is Exit


def test_run_gives_the_rows_of_the_command_line(corpus, own_cache, tmp_path, capsys):
    rows = earlyexit_superb.run(
        TOY,
        "se",
        rho=(1.0,),
        span=("mean",),
        data=corpus,
        protocol="mini",
        results=tmp_path / "out",
        settings={"steps": "4", "eval_every": "2", "batch": "2"},
    )
    fixed = ["full", "full", "depth 0", "depth 1"]
    assert [row.cell.exit for row in rows] == ["unprocessed", *fixed, "adaptive"]
    assert capsys.readouterr().out == ""
    with pytest.raises(UsageError, match="no upstream is called 'dasy'"):
        earlyexit_superb.run("dasy", "se")


def bare(hidden, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, ROOT / "tests" / "core_only.py", hidden, "--", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def test_with_torch_alone_it_imports_and_lists_what_is_missing(tmp_path):
    # torch requires filelock
    lacking = [d for m, d in CORE.items() if m not in ("torch", "filelock")]
    modules = ",".join(m for m in CORE if m not in ("torch", "filelock"))
    done = bare(
        modules,
        "-c",
        "import earlyexit_superb as e; print(e.missing(), e.__version__)\ntry: e.Upstream\n"
        "except Exception as error: print(type(error).__name__, error)",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(str(lacking)) and second.startswith(
        "MachineError earlyexit_superb.Upstream needs numpy, scipy, "
    )
    assert (
        done.stderr.count("\n") == 1
        and f"needs {', '.join(lacking)}, not installed" in done.stderr
        and "run: pip install" in done.stderr
    )


@pytest.mark.parametrize(
    "line, said",
    [
        ("--help", "--upstream"),
        ("--version", "earlyexit-superb "),
        ("ls", "task      se"),
        ("check hubert", "ok  "),
        ("doctor", "[se] speech enhancement: PESQ and STOI: not usable; run: pip install"),
        ("leaderboard RESULTS", "leaderboard_se.csv"),
    ],
)
def test_with_the_core_alone(line, said, tmp_path):
    few = shutil.ignore_patterns("*seed-[12]*", "*random*", "*oracle*")
    shutil.copytree(ROOT / "results" / "se", tmp_path / "results" / "se", ignore=few)
    done = bare("", *line.replace("RESULTS", str(tmp_path / "results")).split(), cwd=tmp_path)
    assert done.returncode == (3 if line == "doctor" else 0) and said in done.stdout, done.stderr
    assert "Traceback" not in done.stderr and "FAIL" not in done.stdout


def test_a_run_that_needs_an_extra_names_it_in_one_sentence(corpus, tmp_path):
    done = bare(
        "",
        "--upstream",
        TOY,
        "--task",
        "se",
        "--data",
        str(corpus),
        "--protocol",
        "mini",
        "--results",
        str(tmp_path / "out"),
        cwd=tmp_path,
    )
    error = done.stderr[done.stderr.index("error: ") :]
    assert (
        done.returncode == 3
        and error.count("\n") == 1
        and "--task se needs pesq, pystoi, threadpoolctl, lightning_fabric, not" in error
    ), done.stderr
    assert re.search(r"run: pip install .*\[se,train\]", error)
