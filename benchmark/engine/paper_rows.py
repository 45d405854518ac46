"""From the lines of a paper's table to rows: the runs behind them, made where they are missing."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..contract import Task, Upstream
from ..errors import UsageError, did_you_mean
from ..extras import install
from ..registry import build_upstream, tasks
from ..report.paper_table import Made
from ..report.papers.shape import Line
from ..report.result import Result
from .controls import BY_LENGTH
from .experiment import Row, RunConfig
from .paper_weights import DECODING, TASK, Conditions, weights
from .protocols import run_protocol, settable
from .several import Part, made

KNOB = "target_depth"  # of every system that spells
SEARCH = {"flashlight.lib.text.decoder": "lm", "torchaudio": "lm"}  # module -> the extra
LACKS_LM = (
    "With a language model: none is named; name a word n-gram of text in capitals, such as "
    "LibriSpeech's (openslr.org/11): --set lm=4-gram.arpa"
)
Place = tuple[str, float | None]  # a row's exit, and the value of the knob where it has one


@dataclass(frozen=True)
class Asked:
    """What is asked of one system and seed.

    Attributes:
        part: its run.
        name, revision: of its upstream, as its rows have them.
        places: of each of its lines.
        unit: (a, b): a published threshold x is the evidence a x + b.
    """

    part: Part
    name: str
    revision: str
    places: Mapping[Line, Place]
    unit: tuple[float, float]


def rows(
    lines: Sequence[Line], asked: Conditions, curves: bool
) -> tuple[list[Made], list[Result], list[str]]:
    """The rows of every line, made where they are missing; all rows that they may be held against;
    and a sentence for each line that has none.

    A line that is no line of the paper and lacks a language model alone is left out.

    Args:
        curves: with the fixed exits of what leaves by itself, and the same exits dealt out anew.
    """
    if asked.decoding and all(line.lm == "never" for line in lines):
        raise UsageError(
            f"paper {asked.paper}: no line that is asked for is decoded with a language model; "
            f"leave {', '.join(asked.decoding)} out"
        )
    if not asked.decoding:
        lines = [line for line in lines if not (line.control and line.lm == "always")]
        if not lines:
            raise UsageError(f"paper {asked.paper}: {LACKS_LM[0].lower()}{LACKS_LM[1:]}")
    left_out = {line: why for line in lines if (why := _lacking(line, asked))}
    usable = [line for line in lines if line not in left_out]
    _check_settings(asked)
    known = weights((line.training for line in usable), asked)
    systems: dict[tuple, list[Line]] = {}
    for line in usable:
        own = tuple(line.options.items())
        system = line.training.name, line.criterion, own, decoded(line, asked)
        systems.setdefault(system, []).append(line)
    of_runs = [
        _asked(of, known[of[0].training.name, seed], asked, seed, curves)
        for of in systems.values()
        for seed in asked.seeds
    ]
    found, refused = made([one.part for one in of_runs], f"paper {asked.paper}")
    for sentence in refused:
        print(f"notice: {sentence}", file=sys.stderr)
    cells = {_key(result): result for result in found}
    out = [_of_line(line, of_runs, cells, left_out.get(line, "")) for line in lines]
    return out, found, list(dict.fromkeys(left_out.values()))


def _check_settings(asked: Conditions) -> None:
    """UsageError about what rows would refuse when all trainings are done."""
    task: Task = tasks.get(TASK)
    protocol = task.protocols[task.builtin if asked.data is None else task.default]
    known = settable(task)
    for key in asked.protocol:
        if key not in known:
            raise UsageError(
                f"paper {asked.paper}: --set {key}: no protocol of {TASK} has it, and what its "
                f"systems are built with is the paper's; {did_you_mean(key, {*known, *DECODING})}"
            )
    run_protocol(protocol, asked.protocol)
    for key in ("lm", "lexicon"):
        if key in asked.decoding and not Path(asked.decoding[key]).expanduser().is_file():
            raise UsageError(f"--set {key}={asked.decoding[key]}: there is no such file")


def decoded(line: Line, asked: Conditions) -> bool:
    """Whether a line is decoded with a language model."""
    return bool(asked.decoding) and line.lm != "never"


def _lacking(line: Line, asked: Conditions) -> str:
    """Why a line has no rows here, or ""."""
    if line.lacking:
        return line.lacking
    if line.lm == "always" and not asked.decoding:
        return LACKS_LM
    needs = {**line.needs, **(SEARCH if decoded(line, asked) else {})}
    absent = [m for m in needs if find_spec(m.split(".")[0]) is None]
    if not absent:
        return ""
    extras = ",".join(dict.fromkeys(needs[module] for module in absent))
    return f"{line.group or line.label}: needs {', '.join(absent)}; run: {install(extras)}"


def _asked(lines: Sequence[Line], file: str, asked: Conditions, seed: int, curves: bool) -> Asked:
    """The run of lines that share weights, options and a criterion."""
    first = lines[0]
    spec = first.training.model.spec(asked.size)
    options = {**first.training.options(asked.size), **first.options}
    options |= {"criterion": first.criterion}
    options |= {"weights": file} if file else {}
    options |= asked.decoding if decoded(first, asked) else {}
    built = build_upstream(spec, options)
    places = {line: place(line, built, asked) for line in lines}
    values = tuple(dict.fromkeys(value for _, value in places.values() if value is not None))
    words, wanted = [word for at in places.values() for word in _words(at)], set(places.values())
    adaptive = any(line.adaptive for line in lines)
    if adaptive and curves:
        words.append("static")
        wanted |= {("full", None), *((f"depth {k}", None) for k in built.exits)}
    if adaptive and asked.batch:
        words.append(f"sorted:{asked.batch}")
    elif adaptive and curves:
        words.append("random")
        wanted |= {("random", value) for value in values}

    def is_wanted(row: Row) -> bool:
        return (row.cell.exit, row.cell.value) in wanted

    config = RunConfig(
        upstream=spec,
        task=TASK,
        knobs={KNOB: values} if values else {},
        data=asked.data,
        seed=seed,
        device=asked.device,
        results=asked.results,
        settings={**asked.protocol, **options, "exits": ",".join(dict.fromkeys(words))},
    )
    with_lm = ", with a language model" if decoded(first, asked) else ""
    told = f"{first.training.name}, {first.criterion}{with_lm}, seed {seed}"
    part = Part(told, config, is_wanted)
    at_zero = built.published(0.0)
    unit = (built.published(1.0) - at_zero, at_zero)
    return Asked(part, built.card.name, built.card.revision, places, unit)


def place(line: Line, built: Upstream, asked: Conditions) -> Place:
    """The row that a line is."""
    model = line.training.model
    together = f"batches of {asked.batch}{BY_LENGTH}" if asked.batch else ""
    if line.block is not None:
        block = model.block(line.block, asked.size)
        return ("full" if block == built.card.depth else f"depth {block}"), None
    if not line.adaptive:
        return "full", None
    if line.threshold is None or asked.aimed:
        aim = model.mean_depth(line.aim, asked.size)
        return together or "adaptive", aim
    return ", ".join(filter(None, (f"tau {tau(line, built)}", together))), None


def tau(line: Line, built: Upstream) -> float:
    """A published threshold as evidence; what a float adds to a printed number is left out."""
    return round(float(built.published(line.threshold)), 10)


def _words(at: Place) -> Iterable[str]:
    """What `exits` must say for a row to be there."""
    exit, _ = at
    kind, _, rest = exit.partition(" ")
    if kind == "depth":
        yield rest
    elif kind == "tau":
        yield f"tau:{rest.partition(',')[0]}"


def _key(result: Result) -> tuple:
    cell = result.cell
    return cell.upstream, cell.revision, cell.seed, cell.exit, cell.value


def _of_line(
    line: Line, of_runs: Sequence[Asked], cells: Mapping[tuple, Result], lacking: str
) -> Made:
    mine = [one for one in of_runs if line in one.places]
    keys = [(one.name, one.revision, one.part.config.seed, *one.places[line]) for one in mine]
    found = tuple(cells[key] for key in keys if key in cells)
    return Made(line, found, mine[0].unit if mine else (1.0, 0.0), lacking)
