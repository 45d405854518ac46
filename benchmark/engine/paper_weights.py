"""The weights behind a paper's table: each of its trainings, made where it is missing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from ..errors import UsageError, did_you_mean
from ..registry import build_upstream, untrained
from ..report.papers.shape import PUBLISHED, SMALL, Training
from .training_start import TrainingConfig, trainable
from .trainings import FOLDER, beneath, finished, weights_of

TASK = "asr"  # what the systems of these papers answer
DECODING = ("lm", "lexicon", "lm_weight", "word_score", "beam")  # options of every such upstream
SHIPPED = "shipped"  # in the place of a file: what the upstream comes with
Weights = Mapping[tuple[str, int], str]  # (training, seed) -> the option `weights` of its upstream


@dataclass(frozen=True)
class Conditions:
    """How a paper's rows are made.

    Attributes:
        paper: its name.
        size: of every system, one of `shape.SIZES`.
        data: the corpus, of trainings and rows; None = the built-in one.
        results: of rows; trainings go below it.
        recipe: fields of every training's recipe; protocol: of the rows'.
        decoding: the language model of the lines that are decoded with one, as options of their
            upstreams; empty = none is given.
        given: training -> its weights, SHIPPED or a file, for one seed.
        aimed: thresholds are set for mean exits on the training split; else they are the published
            ones.
        batch: utterances that leave together; 0 = each by itself.
    """

    paper: str
    size: str = SMALL
    seeds: tuple[int, ...] = (0,)
    data: Path | None = None
    device: str = "cpu"
    results: Path = Path("results/local")
    recipe: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    aimed: bool = True
    batch: int = 0
    decoding: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.decoding and "lm" not in self.decoding:
            raise UsageError(
                f"paper {self.paper}: {', '.join(self.decoding)} is of decoding with a language "
                "model, and none is named; name one: --set lm=FILE.arpa"
            )
        if self.size == PUBLISHED and self.data is None:
            raise UsageError(
                f"paper {self.paper}: --preset {PUBLISHED} trains systems of published size, which "
                "the built-in corpus is too small for; name a corpus: --data LibriSpeech"
            )
        if self.given and len(self.seeds) > 1:
            raise UsageError(
                f"paper {self.paper}: --weights names the weights of one training, so it goes with "
                "one --seed"
            )


def weights(trainings: Iterable[Training], asked: Conditions) -> Weights:
    """The weights of every training and seed; how far it is goes to stderr.

    Raises: UsageError about what cannot be trained, or is given and is no training of these.
    """
    trainings = tuple(trainings)
    by_name = {one.name: one for of in trainings for one in of.chain}
    found = {(name, asked.seeds[0]): _given(by_name, name, asked) for name in asked.given}
    some = dict.fromkeys(one for of in trainings for one in needed(of, asked))
    wanted = [(of, seed) for of in some for seed in asked.seeds]
    configs = {
        (of.name, seed): config(of, asked, seed)
        for of, seed in wanted
        if (of.name, seed) not in found
    }
    named_so = {f"{name}, seed {seed}": one for (name, seed), one in configs.items()}
    finished(named_so, "paper")
    found |= {key: str(weights_of(one)) for key, one in configs.items()}
    return found


def config(training: Training, asked: Conditions, seed: int) -> TrainingConfig:
    """A training in a folder that no other recipe, no other data and no other start share."""
    spec, preset = training.model.spec(asked.size), training.preset_at(asked.size)
    settings = {**training.recipe, **training.options(asked.size), **_fields(training, asked)}
    start = _start(training, asked, seed)
    begun = start if isinstance(start, TrainingConfig) else None
    if start is not None:
        settings = {**settings, "weights": str(weights_of(begun) if begun else start.resolve())}
    one = TrainingConfig(
        spec,
        out=Path(),
        preset=preset,
        data=(asked.data,) if asked.data else (),
        task=TASK,
        teacher=training.teacher.spec(asked.size) if training.teacher else "",
        settings=settings,
        seed=seed,
        device=asked.device,
    )
    return beneath(asked.results / FOLDER, one, begun)


def needed(training: Training, asked: Conditions) -> tuple[Training, ...]:
    """A training behind those that it begins with, as far as their weights are not given."""
    if training.start is None or training.name in asked.given:
        return (training,)
    return (*needed(training.start, asked), training)


def _start(training: Training, asked: Conditions, seed: int) -> TrainingConfig | Path | None:
    """Another training, or weights that are given; None = it begins with what the upstream has."""
    if training.start is None:
        return None
    given = asked.given.get(training.start.name)
    if given:
        return None if given == SHIPPED else Path(given)
    return config(training.start, asked, seed)


def _fields(training: Training, asked: Conditions) -> Mapping[str, str]:
    """What is said of every training's recipe: of a distillation's, as far as it has the fields.

    Raises: UsageError: it has no such field, or the paper's trainings are told apart by it.
    """
    spec, who = training.model.spec(asked.size), f"paper {asked.paper}: --train"
    recipe = trainable(spec)[1].presets[training.preset_at(asked.size)]
    known = {f.name for f in fields(recipe)} - {"source"}
    if training.teacher is not None:
        return {key: value for key, value in asked.recipe.items() if key in known}
    for key in asked.recipe:
        if key not in known:
            raise UsageError(
                f"{who} {key}: the recipe of {spec} has no option {key!r}: "
                f"{did_you_mean(key, known)} (an option of the system is none of its recipe: train "
                f"one of your own, run_benchmark.py train {spec} --list)"
            )
        if key in training.recipe:
            raise UsageError(
                f"{who} {key}: the paper's trainings are told apart by it ({training.name}: "
                f"{training.recipe[key]}); leave it out"
            )
    return asked.recipe


def _given(by_name: Mapping[str, Training], name: str, asked: Conditions) -> str:
    """The option `weights` of what a user gave for a training."""
    if name not in by_name:
        raise UsageError(
            f"paper {asked.paper}: --weights {name}: no training that is asked for is called so; "
            f"{did_you_mean(name, by_name)}"
        )
    of, file = by_name[name], asked.given[name]
    if file != SHIPPED:
        if not Path(file).is_file():
            raise UsageError(f"paper {asked.paper}: --weights {name}={file}: there is no such file")
        return file
    spec, options = of.model.spec(asked.size), of.options(asked.size)
    if untrained(build_upstream(spec, options).card.revision):
        words = [f"{key}={value}" for key, value in {**of.recipe, **options}.items()]
        line = ["run_benchmark.py train", spec, "--preset", of.preset_at(asked.size)]
        line += ["--task", TASK, "--out DIR", *(["--set", *words] if words else [])]
        raise UsageError(
            f"paper {asked.paper}: --weights {name}={SHIPPED}: none are shipped for {spec}, whose "
            f"own are random; leave it out, or train them ({' '.join(line)}) and name the file"
        )
    return ""
