"""The systems of one table: an upstream each with its options, and the run that makes its rows."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..config import pairs
from ..contract import UpstreamCard
from ..errors import BenchmarkError, UsageError, did_you_mean
from ..listing import offline
from ..registry import build_upstream, options_of, untrained, upstream_class, upstreams
from .experiment import Row, RunConfig
from .resolve import resolve
from .several import Part


@dataclass(frozen=True)
class Facts:
    """What is asked of an upstream, without its weights: several large ones need not be held.

    Attributes:
        card, knob, answers: its own; backbone: the card of its backbone.
    """

    card: UpstreamCard
    backbone: UpstreamCard
    knob: str | None
    answers: tuple[str, ...]


@dataclass(frozen=True)
class System:
    """One line of a comparison, or several: an upstream with its options.

    Attributes:
        spec: an upstream, as `run` takes it.
        settings: of --set: options of its constructor, its knob, `exits`.
        span: of its exits; () = its own.
    """

    spec: str
    settings: Mapping[str, str]
    span: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.settings.items()]
        return " ".join([self.spec, *words, *(f"span={span}" for span in self.span)])

    @cached_property
    def facts(self) -> Facts:
        """It is built to be asked.

        Raises: BenchmarkError where an option does not fit, or its weights are not to be had.
        """
        known = options_of(self.spec)
        options = {name: value for name, value in self.settings.items() if name in known}
        built = build_upstream(self.spec, options)
        return Facts(built.card, built.backbone.card, built.knob, built.answers)


def spelled_out(text: str) -> System:
    """ "daisy rho=0.7,1.0 span=mean" -> the system; UsageError where no name comes first."""
    try:
        name, *words = shlex.split(text)
    except ValueError:
        name, words = "", []
    if not name or ("=" in name and ".py:" not in name):
        raise UsageError(
            f"--system {text!r} names no upstream; write it first and then its options, such as "
            "'daisy rho=0.7 span=mean'"
        )
    return _system(name, pairs(words, f"--system {name}"))


def _system(spec: str, settings: Mapping[str, str]) -> System:
    left = dict(settings)
    tag, span = left.pop("tag", ""), left.pop("span", "")
    return System(f"{spec}.{tag}" if tag else spec, left, tuple(filter(None, span.split(","))))


def named(spec: str) -> list[System]:
    """The systems by which an upstream stands in a comparison; itself where it names none. A tag of
    the user's own leaves out those of another tag."""
    cls, tagged = upstream_class(spec), ".py:" not in spec and "." in spec
    sets = [one for one in cls.compared if not (tagged and "tag" in one)]
    return [_system(spec, one) for one in sets or [{}]]


def defaults(task: str) -> tuple[list[System], list[str]]:
    """Every system by which a registered upstream stands in a comparison and whose weights are on
    this machine, and a sentence for each that is left out. Nothing is downloaded."""
    offline()
    found, left_out = [], []
    for name in upstreams.names():
        if why := upstreams.probe(name):
            left_out.append(f"{name}: {why}")
            continue
        for system in named(name) if upstreams.get(name).compared else ():
            if why := _lacking(system, task):
                left_out.append(f"{system}: {why}")
            else:
                found.append(system)
    return found, left_out


def _unbuildable(system: System) -> str:
    """Why it cannot be built, or "": it is tried."""
    try:
        _ = system.facts
    except BenchmarkError as error:
        return str(error)
    return ""


def _lacking(system: System, task: str) -> str:
    """Why it is left out of a comparison where nobody has named it, or ""."""
    if why := _unbuildable(system):
        return why
    card = system.facts.card
    if card.tasks and task not in card.tasks:
        return f"it is for {', '.join(card.tasks)} alone"
    return "its weights are random ones" if untrained(card.revision) else ""


# ---- what is run ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Controls:
    """What stands beside the systems.

    Attributes:
        dealt: of every system that exits by itself: "random", "oracle".
        weights: the `weights` of every backbone's controls: "random", "random-blocks".
    """

    dealt: Sequence[str] = ()
    weights: Sequence[str] = ()


def parts(
    systems: Iterable[System], controls: Controls, like: RunConfig
) -> tuple[list[Part], list[str]]:
    """The runs behind a table for one seed, and a sentence for each control that cannot be.

    Systems that exit come first: the fixed depths of their backbone are read from the same pass.

    Args:
        like: task, corpus, recipe, seed, device and folder; its settings are of all runs.
    Raises: BenchmarkError about the first system that cannot be built.
    """
    ordered = list({str(of): of for of in systems}.values())
    ordered.sort(key=lambda system: system.facts.knob is None)
    out = [_part(system, controls.dealt, like) for system in ordered]
    more, left_out = _with_other_weights(ordered, controls.weights, like)
    return out + more, left_out


def _part(system: System, dealt: Sequence[str], like: RunConfig) -> Part:
    knob = system.facts.knob
    own = options_of(system.spec)
    for name in system.settings:
        if name not in (*own, knob, "exits"):
            raise UsageError(
                f"--system {system}: {system.spec} has no option {name!r}; "
                f"{did_you_mean(name, [*own, 'exits', 'span', *filter(None, [knob])])} "
                "(the recipe is the same for all systems: --set)"
            )
    answers = like.task in system.facts.answers
    given = system.settings.get("exits", like.settings.get("exits"))
    words = _depths(system.facts) if given is None and not answers else (given or "").split(",")
    fixed = {int(word) for word in words if word.strip().isdecimal()}
    exits = ",".join(filter(None, [*words, *(dealt if knob else ())]))

    def wanted(row: Row) -> bool:
        if row.cell.layer_norm is False:
            return False
        usual = row.depth is None or row.cell.exit == "full" or row.alone
        return usual or answers or "static" in words or row.depth in fixed

    return Part(f"{like.task}, seed {like.seed}, {system}", _config(system, exits, like), wanted)


def _depths(facts: Facts) -> list[str]:
    """The fixed exits of a system that names none: quarters of its depth, which are the curve that
    systems are held against; none where something else makes it cheaper."""
    card = facts.card
    if not facts.knob and (card.kind or not card.stepped):
        return []
    return [str(depth) for depth in sorted({card.depth * i // 4 for i in range(4)})]


def _config(system: System, exits: str, like: RunConfig) -> RunConfig:
    settings = {**like.settings, **system.settings, "exits": exits}
    return replace(like, upstream=system.spec, settings=settings, span=system.span)


def _with_other_weights(
    systems: Sequence[System], weights: Sequence[str], like: RunConfig
) -> tuple[list[Part], list[str]]:
    """Full depth of every backbone with weights that have learned nothing, or less."""
    backbones: dict[tuple[str, str], System] = {}
    for system in reversed(systems):  # static ones first: no evidence is recorded in vain
        card = system.facts.backbone
        takes_weights = "weights" in options_of(system.spec)
        if takes_weights and not (
            card.kind or untrained(card.revision) or like.task in system.facts.answers
        ):
            backbones.setdefault((card.name, card.revision), system)
    found, left_out = [], []
    for system in backbones.values():
        for kind in weights:
            other = replace(system, settings={**system.settings, "weights": kind})
            if why := _unbuildable(other):
                left_out.append(f"{other}: {why}")
                continue
            name = f"{like.task}, seed {like.seed}, {other}"
            found.append(Part(name, _config(other, "", like), _full))
    return found, left_out


def _full(row: Row) -> bool:
    return row.cell.exit == "full" and row.cell.layer_norm is not False


def checked(of: Sequence[Part], lenient: bool) -> tuple[list[Part], list[str]]:
    """The runs that can be, before anything is spent on the first of them, and a sentence for each
    other one.

    Raises: UsageError about the first that cannot be, unless `lenient`.
    """
    found, left_out = [], []
    for part in of:
        try:
            resolve(part.config)
        except UsageError as error:
            if not lenient:
                raise
            left_out.append(f"{part.name}: {error}")
            continue
        found.append(part)
    return found, left_out
