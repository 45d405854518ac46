"""From a paper's lines to rows: what is built, which row a line is, thresholds, trainings."""

from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.engine import paper_rows, paper_weights, run
from earlyexit_superb.benchmark.engine.controls import extra
from earlyexit_superb.benchmark.engine.paper_weights import Conditions
from earlyexit_superb.benchmark.engine.trainings import weights_of
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import leaving
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.benchmark.report.papers import PAPERS, hubert_ee, zaiem
from earlyexit_superb.benchmark.report.papers.shape import PUBLISHED, SMALL
from earlyexit_superb.upstreams.layerdrop import kept
from earlyexit_superb.upstreams.training import recognition
from helpers import arpa, papers

RANDOM = {"weights": "random"}


def lines_of(paper):
    every = [*paper.tables.values(), *paper.figures.values()]
    return [line for of in every for line in of.lines if line.training]


def systems(paper, size):
    """One line of everything that is built: upstream, options, criterion."""
    found = {}
    for line in lines_of(paper):
        told = tuple({**line.training.options(size), **line.options}.items())
        found.setdefault((line.training.model.spec(size), told, line.criterion), []).append(line)
    return found


def check_systems(paper, size):
    for (spec, options, criterion), lines in systems(paper, size).items():
        built = build_upstream(spec, {**dict(options), **RANDOM, "criterion": criterion})
        model = lines[0].training.model
        single, prune = (dict(options).get(name) for name in ("single", "prune"))
        blocks = int(single) if single else model.last(size)
        assert built.card.depth == len(kept(blocks, float(prune or 0))), spec
        if not single:
            first = model.first if size == PUBLISHED else model.small_first
            assert leaving(built)[0] == first, spec
        for aimed in (True, False):
            asked = Conditions(paper.name, size, data="x", aimed=aimed)
            for line in lines:
                check_place(paper_rows.place(line, built, asked), built)


def check_place(place, built):
    """`run` takes its words, and its knob's value."""
    exit, value = place
    extra(",".join(paper_rows._words(place)), built, answers=True)
    if value is not None:
        assert exit == "adaptive" and built.check_knob(value) == ""


@pytest.mark.parametrize("name", PAPERS)
def test_every_line_has_a_system_and_a_row_of_it(name):
    check_systems(PAPERS[name], SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_every_line_has_a_system_of_published_size(name):
    check_systems(PAPERS[name], PUBLISHED)


@pytest.mark.parametrize(
    "spec, criterion, printed, evidence",
    [
        ("hubert_ee.tiny", "entropy", 0.0035, 0.112),  # nats a frame: times 32 symbols
        ("hubert_ee.tiny", "confidence", 0.955, 0.045),
        ("zaiem.tiny", "entropy", 0.06, 0.06),
        ("zaiem.tiny", "similarity", 0.965, 0.035),
    ],
)
def test_published_thresholds_become_evidence(spec, criterion, printed, evidence):
    built = build_upstream(spec, {"criterion": criterion, **RANDOM})
    line = replace(hubert_ee.entropy(printed, 6.0), criterion=criterion)
    assert paper_rows.tau(line, built) == evidence
    asked = Conditions("any", aimed=False)
    assert paper_rows.place(line, built, asked) == (f"tau {evidence}", None)
    together = paper_rows.place(line, built, replace(asked, batch=4))
    assert together == (f"tau {evidence}, batches of 4 by length", None)


def test_mean_exits_and_blocks_of_the_small_size_lie_where_the_published_ones_do():
    assert zaiem.MODEL.mean_depth(13, SMALL) == 7 and zaiem.MODEL.mean_depth(24, SMALL) == 12
    assert zaiem.MODEL.mean_depth(18.5, SMALL) == 9.5
    assert zaiem.MODEL.mean_depth(18.5, PUBLISHED) == 18.5
    assert zaiem.MODEL.block(22, SMALL) == 11 and zaiem.MODEL.block(22, PUBLISHED) == 22


def test_trainings_of_another_recipe_or_corpus_lie_apart(tmp_path):
    asked = Conditions("hubert-ee", results=tmp_path)
    configs = [
        paper_weights.config(hubert_ee.JOINT, one, 0)
        for one in (asked, replace(asked, recipe={"steps": "2"}), replace(asked, data=tmp_path))
    ]
    assert len({one.out for one in configs}) == 3
    assert configs[1].settings == {"strategy": "joint", "steps": "2"}
    published = replace(asked, size=PUBLISHED, data=tmp_path)
    large = paper_weights.config(hubert_ee.TWO_STAGE, published, 1)
    assert (large.upstream, large.preset, large.seed) == ("hubert_ee.base", "paper", 1)
    assert large.settings == {"strategy": "two_stage", "branch": "paper"}


def test_what_a_training_begins_with_is_trained_before_it_and_may_be_given(tmp_path):
    asked = Conditions("hubert-ee", results=tmp_path, recipe={"steps": "2", "dev_limit": "3"})
    student, tuned = paper_weights.needed(hubert_ee.DISTILLED, asked)
    assert (student, tuned) == (hubert_ee.STUDENT, hubert_ee.DISTILLED)
    first, second = (paper_weights.config(one, asked, 1) for one in (student, tuned))
    assert (first.upstream, first.teacher, first.task) == (
        "distilhubert.tiny8",
        "hubert.tiny",
        "asr",
    )
    assert first.settings == {"steps": "2"}  # dev_limit is no field of a distillation
    assert second.settings["weights"] == str(weights_of(first))
    assert second.settings["backbone"] == "distilhubert.tiny8" and not second.teacher
    elsewhere = replace(asked, results=tmp_path / "other")
    assert paper_weights.config(tuned, asked, 2).out.parent == second.out.parent
    assert paper_weights.config(tuned, elsewhere, 1).out.parent.name == second.out.parent.name
    given = replace(asked, given={student.name: str(tmp_path / "s.safetensors")})
    other = paper_weights.config(tuned, given, 0)
    assert other.settings["weights"] == given.given[student.name]
    assert other.out.parent != paper_weights.config(tuned, asked, 0).out.parent
    assert paper_weights.needed(tuned, replace(asked, given={tuned.name: "x"})) == (tuned,)


def test_published_size_needs_a_corpus_and_given_weights_one_seed():
    with pytest.raises(UsageError, match="name a corpus: --data"):
        Conditions("zaiem", PUBLISHED)
    with pytest.raises(UsageError, match="goes with one --seed"):
        Conditions("zaiem", seeds=(0, 1), given={"joint": "x"})


def test_weights_that_are_given_are_of_a_training_and_there(tmp_path):
    asked = Conditions("toy", given={"jiont": "x"})
    with pytest.raises(UsageError, match="did you mean joint"):
        paper_weights.weights([papers.JOINT], asked)
    with pytest.raises(UsageError, match="joint=x: there is no such file"):
        paper_weights.weights([papers.JOINT], replace(asked, given={"joint": "x"}))
    with pytest.raises(UsageError, match="are random; leave it out, or train them .*--set strat"):
        paper_weights.weights([papers.JOINT], replace(asked, given={"joint": "shipped"}))


def test_a_second_time_nothing_is_trained_and_nothing_made(
    spoken, tmp_path, shared_cache, monkeypatch, capsys
):
    asked = Conditions("toy", data=spoken, results=tmp_path)
    lines = [papers.TABLE.lines[1], papers.TABLE.lines[3]]
    first, found, lacking = paper_rows.rows(lines, asked, curves=True)
    assert "paper: training 1 of 1, joint, seed 0" in capsys.readouterr().err
    assert [len(one.rows) for one in first] == [1, 0] and first[0].unit == (32, 0)
    assert {"adaptive", "random", "full", "depth 1"} == {row.cell.exit for row in found}
    assert lacking == [first[1].lacking] == ["Absent: no recipe makes it"]
    monkeypatch.setattr(recognition, "train", None)
    with monkeypatch.context() as nothing:
        nothing.setattr(run, "_make", lambda exp, missing, *rest: [] if not missing else 1 / 0)
        again, *_ = paper_rows.rows(lines, asked, curves=True)
    assert [one.rows for one in again] == [one.rows for one in first]
    assert "training" not in capsys.readouterr().err
    together = replace(asked, aimed=False, batch=2)  # thresholds by batches, of the same weights
    [one, _], found, _ = paper_rows.rows(lines, together, curves=True)
    [row] = one.rows
    assert row.cell.exit == "tau 3.2, batches of 2 by length" and row.cost.rtfx is None
    assert {result.cell.exit for result in found} == {row.cell.exit, "full", "depth 1"}


def test_a_language_model_is_of_the_lines_that_are_decoded_with_one(
    spoken, tmp_path, shared_cache, monkeypatch
):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")
    lm = arpa.write(tmp_path / "some.arpa")
    plain = Conditions("toy", data=spoken, results=tmp_path)
    asked = replace(plain, decoding={"lm": lm, "beam": "5"})
    whole = papers.TABLE.lines[0]
    always, added = (replace(whole, lm="always", control=control) for control in (False, True))
    made, _, lacking = paper_rows.rows([whole, always, added], plain, curves=False)
    assert [len(one.rows) for one in made] == [1, 0]  # what is not printed is left out
    [sentence] = lacking
    assert "none is named" in sentence and "--set lm=4-gram.arpa" in sentence
    monkeypatch.setattr(recognition, "train", None)  # the weights are the same
    lines = [whole, always, replace(whole, lm="given")]
    made, _, lacking = paper_rows.rows(lines, asked, curves=False)
    names = [row.cell.upstream for one in made for row in one.rows]
    assert ["lm=some.arpa, beam=5" in name for name in names] == [False, True, True]
    assert not lacking and made[1].rows == made[2].rows
    with pytest.raises(UsageError, match="no line that is asked for .*; leave lm, beam out"):
        paper_rows.rows([whole], asked, curves=False)
    with pytest.raises(UsageError, match="beam is of decoding .*--set lm=FILE.arpa"):
        replace(plain, decoding={"beam": "5"})
    monkeypatch.setattr(paper_rows, "find_spec", lambda name: None)
    _, _, [sentence] = paper_rows.rows([always], asked, curves=False)
    assert "needs flashlight.lib.text.decoder, torchaudio; run: pip install" in sentence


@pytest.mark.slow
def test_seeds_are_trainings_of_their_own(spoken, tmp_path, shared_cache):
    asked = Conditions("toy", data=spoken, results=tmp_path, seeds=(0, 1))
    made, *_ = paper_rows.rows(papers.TABLE.lines, asked, curves=False)
    assert [len(one.rows) for one in made] == [2, 2, 2, 0]
    assert [row.cell.seed for row in made[1].rows] == [0, 1]
    assert made[1].rows[0].cell.revision != made[1].rows[1].cell.revision
