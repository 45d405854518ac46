"""`compare --task`: which systems and rows stand in it, and that nothing is made twice."""

import json
from inspect import signature

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import compare_systems
from earlyexit_superb.benchmark.engine import run
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.system_runs import Controls, parts
from earlyexit_superb.benchmark.engine.systems import defaults, named, spelled_out
from earlyexit_superb.benchmark.registry import upstreams
from earlyexit_superb.benchmark.report import row_notes
from helpers import STEPS, TOY
from toys import systems

SE = RunConfig(upstream="", task="se")


@pytest.fixture
def room(monkeypatch):
    """A registry with toys alone."""
    monkeypatch.setattr(upstreams, "_found", dict(systems.ALL))
    monkeypatch.setattr(upstreams, "names", lambda: sorted(systems.ALL))


def test_an_upstream_joins_by_an_attribute_of_its_class(room):
    found, left_out = defaults("se")
    names = ["adaptive rho=1.0 span=mean", "small blocks=1", "small blocks=2"]
    assert [str(system) for system in found] == names
    said = dict(sentence.split(": ", 1) for sentence in left_out)
    assert said == {
        "elsewhere": "elsewhere: its weights are not on this machine; download them",
        "random": "its weights are random ones",
        "tuned": "it is for asr alone",
    }
    assert "tuned" in {str(system) for system in defaults("asr")[0]}


def test_what_stands_in_a_comparison_says_what_there_is_to_be_set():
    for name in upstreams.names():
        cls = upstreams.get(name)
        known = {*signature(cls).parameters, cls.knob, "exits", "span"}
        for one in cls.compared:
            assert set(one) <= known, name
            assert all(isinstance(value, str) for value in one.values()), name


def test_the_built_in_ones_are_on_the_same_backbone():
    """So one curve of fixed depths serves them all, and its heads are trained once."""
    names = ("hubert", "daisy", "layer_similarity")
    backbones = [system.facts.backbone.name for name in names for system in named(name)]
    assert backbones == ["hubert.tiny"] * len(names)


def test_rows_are_quarters_of_the_depth_and_controls(room, corpus):
    from earlyexit_superb.benchmark.engine.resolve import resolve

    like = RunConfig(upstream="", task="se", data=corpus, protocol="mini", seed=3)
    small = spelled_out("small blocks=2")
    found, _ = parts([small, *named("adaptive")], Controls(("random",)), like)
    rows = [[r.cell.exit for r in resolve(p.config).rows if p.wanted(r)] for p in found]
    usual = ["unprocessed", "full"]
    fixed = ["depth 0", "depth 1", "depth 2"]  # of 3
    assert sorted(rows[0]) == sorted([*usual, *fixed, "adaptive", "random"])  # it comes first
    assert rows[1] == usual  # another model: its own depths are no curve
    assert {part.config.seed for part in found} == {3}
    [some], _ = parts([spelled_out("small exits=1")], Controls(), like)
    assert [r.cell.exit for r in resolve(some.config).rows if some.wanted(r)] == [*usual, "depth 1"]


def test_every_backbone_has_its_controls_once():
    of = [spelled_out("daisy"), spelled_out("hubert front=projection")]
    found, left_out = parts(of, Controls(weights=("random", "random-blocks")), SE)
    names = [part.name.removeprefix("se, seed 0, ") for part in found]
    assert names[:2] == ["daisy", "hubert front=projection"] and not left_out
    controls = [f"hubert front=projection weights={kind}" for kind in ("random", "random-blocks")]
    assert names[2:] == controls  # of the static one: no evidence is recorded in vain


def test_a_control_that_cannot_be_is_a_sentence():
    found, [said] = parts([spelled_out("hubert")], Controls(weights=("nowhere.pt",)), SE)
    assert len(found) == 1 and said.startswith("hubert weights=nowhere.pt: ")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--controls", "randm"], "--controls randm: did you mean"),
        (["--system", "rho=0.7"], "'rho=0.7' names no upstream; write it first"),
        (["--system", "daisy", "--system", "daisy 0.7"], "--system daisy takes key=value"),
        (["--system", "daisy roh=0.7"], "daisy has no option 'roh'; did you mean rho"),
        (["--system", "daisy steps=5"], "the recipe is the same for all systems: --set"),
        (["--upstream", "daisi"], "no upstream is called 'daisi': did you mean daisy"),
        (["--system", "hubert span=mean", "--controls"], "does not exit by itself"),
        (["--seed", "x"], "--seed takes whole numbers"),
        (
            ["--upstream", "hubert", "--data", "nowhere", "--controls"],
            "nowhere: there is no such folder",
        ),
        (
            ["--upstream", "hubert", "--set", "stepz=3", "--controls"],
            "--set stepz: neither hubert nor",
        ),
        (["a", "curve"], "unrecognized arguments: a curve"),
    ],
)
def test_bad_input_is_one_sentence(words, said, corpus, capsys, monkeypatch):
    from earlyexit_superb.benchmark.engine import several

    monkeypatch.setattr(several, "results", None)  # nothing is begun
    assert main(["compare", "--task", "se", "--data", str(corpus), *words]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_help_says_what_is_left_out_and_its_example_is_accepted(capsys):
    import shlex

    with pytest.raises(SystemExit):
        main(["compare", "--task", "se", "--help"])
    said = capsys.readouterr().out
    assert "Left out:" in said and all(len(line) <= 100 for line in said.splitlines())
    example = shlex.split(said.partition("example:\n")[2])
    args = compare_systems._parser().parse_args(example[2:])
    assert (args.upstream, args.system) == (["hubert"], ["daisy rho=0.7,1.0"])


def test_a_second_call_makes_nothing_and_gives_the_same_files(
    corpus, tmp_path, shared_cache, capsys, monkeypatch
):
    pytest.importorskip("matplotlib")
    (tmp_path / "all.yaml").write_text("task: se\ncontrols: [random]\nset: {test_limit: 2}\n")
    small = TOY.replace("toy.py:Toy", "systems.py:Small") + " blocks=1"
    line = ["compare", "--config", str(tmp_path / "all.yaml"), "--out"]
    line += [str(tmp_path / "out"), "--system", f"{TOY} rho=1.0 span=mean", "--system", small]
    line += ["--data", str(corpus), "--protocol", "mini", "--results", str(tmp_path / "r")]
    monkeypatch.setattr(row_notes, "one_sided", lambda rows: [f"{len(rows)} rows decide nothing"])
    assert main([*line, *STEPS]) == 0
    paths = [tmp_path / "out" / f"compare_se{end}" for end in (".csv", ".md", ".png", ".svg")]
    first, said = {path: path.read_bytes() for path in paths}, capsys.readouterr()
    assert "compare: 1 of 2, se, seed 0" in said.err and "left" in said.err
    assert "warning: 8 rows decide nothing" in said.err
    monkeypatch.setattr(run, "_make", lambda exp, missing, *rest: [] if not missing else 1 / 0)
    assert main([*line, "--json", *STEPS]) == 0
    again = capsys.readouterr()
    assert "rows to make" not in again.err and "Frozen upstreams\n" in said.out
    assert first == {path: path.read_bytes() for path in paths}
    lines = [json.loads(text) for text in again.out.splitlines()]
    assert len(lines) == 8  # unprocessed; of the toy 4 fixed, adaptive, random; the small one
    kept = [p for p in (tmp_path / "r").rglob("full*.json") if "small" in str(p)]
    details = [json.loads(path.read_text())["detail"] for path in kept]
    assert [(d["kind"], d["stepped"]) for d in details] == [("distilled", False)]
    assert {line["group"] for line in lines} == {"adaptive", "static", "distilled", "controls"}
