"""A paper whose system learns in a second: its tables and figures, as values."""

from earlyexit_superb.benchmark.contract import Training as TrainedBy
from earlyexit_superb.benchmark.metrics import Ratio
from earlyexit_superb.benchmark.report.papers.shape import (
    Figure,
    Line,
    Model,
    Paper,
    Table,
    Training,
)
from earlyexit_superb.benchmark.report.result import Cell, Cost, Result, Score
from earlyexit_superb.upstreams.recognition.word_model import WordModel
from earlyexit_superb.upstreams.training import recognition
from earlyexit_superb.upstreams.training.recognition_recipe import RecognitionRecipe

from helpers import ROOT
from helpers.recognition import SmallSpeller

RECIPE = RecognitionRecipe(source="tests", steps=2, every=2, batch=4)


def train(recipe, data, run):
    recognition.train(recipe, data, run, Speller, "pretrained")


class Speller(SmallSpeller):
    """Exits at 1 and 3 of three blocks."""

    divides = True
    trained_by = TrainedBy("tests", {"tiny": RECIPE}, train, options=("weights",), labels="needed")

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "random",
        criterion: str = "entropy",
        alphabet: str = "",
        seed: int = 0,
        lm: str = "",
        beam: int = 50,
    ):
        self.word_model = WordModel(lm, beam=beam)
        super().__init__(tag, weights, criterion, alphabet, seed)


class ToyModel(Model):
    def spec(self, size):
        return f"{ROOT / 'tests' / 'helpers' / 'papers.py'}:Speller"


MODEL = ToyModel("speller", blocks=3, small_blocks=3, first=1, small_first=1)
JOINT = Training("joint", MODEL, recipe={"strategy": "joint"})
STAGES = Training("two_stage", MODEL, recipe={"strategy": "two_stage"})
TABLE = Table(
    title="thresholds and exits",
    heading="Line",
    measures=("wer", "cer", "depth", "gmacs_per_s", "rtf"),
    lines=(
        Line("whole", "", STAGES),
        Line("S=0.1", "Exits", JOINT, threshold=0.1, aim=2.0),
        Line("C=0.9", "Exits", JOINT, criterion="confidence", threshold=0.9, aim=2.0),
        Line("absent", "Others", lacking="Absent: no recipe makes it"),
    ),
    notes=("As an example.",),
)
BESIDE = Table(
    title="two trainings",
    heading="Exit",
    measures=("wer",),
    lines=tuple(
        Line(str(k), "", training, arm=arm, block=k)
        for k in (1, 3)
        for arm, training in (("one", JOINT), ("other", STAGES))
    ),
    arms=("one", "other"),
    minus=("one", "other"),
)
FIGURES = {
    "1": Figure("costs", "paper_cost", (*TABLE.lines, Line("1", "fixed", JOINT, block=1))),
    "2": Figure("exits", "paper_exits", TABLE.lines[1:3]),
    "3": Figure("shares", "paper_shares", TABLE.lines[1:2]),
}
PAPER = Paper("toy", "a paper of tests", {"1": TABLE, "2": BESIDE}, FIGURES)


def row(folder, wers, upstream="u", exit="full", seed=0, words=10, tau=None, depth=2, **more):
    """A row of recognition, saved and read back; two utterances a speaker.

    Args:
        wers: percent, of each utterance of `words` words.
    """
    cell = Cell(upstream, "abc", "asr", 1, "mini", "x", "mini", "ffff", exit, seed=seed, **more)
    speakers = [f"s{i // 2}" for i in range(len(wers))]
    kinds = {"wer": wers, "cer": [wer / 2 for wer in wers]}
    scores = {
        name: Score.over([Ratio(value * words, words) for value in values], speakers)
        for name, values in kinds.items()
    }
    metrics = [{"name": n, "higher_is_better": False, "unit": "%"} for n in kinds]
    result = Result(
        cell,
        scores,
        depth=float(depth),
        exit_histogram=[len(wers) * (k == depth) for k in range(4)],
        cost=Cost(gmacs_per_s=float(depth), rtfx=50.0, params_m=1.5, reference=upstream),
        device="cpu",
        answered_by="upstream",
        tuned_on="some transcripts",
        detail={"metrics": metrics, "exit": {"depths": [1, 3], "tau": tau}},
    )
    lines = [
        {"id": f"u{i}", "depth": depth, "speaker": speakers[i]}
        | {name: float(values[i]) for name, values in kinds.items()}
        | {f"{name}_of": words for name in kinds}
        for i in range(len(wers))
    ]
    return Result.load(result.save(folder, lines))
