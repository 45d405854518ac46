"""The systems of one table: an upstream each with its options (system_runs.py: what is run)."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..config import pairs
from ..contract import UpstreamCard
from ..errors import BenchmarkError, UsageError
from ..listing import offline
from ..registry import build_upstream, options_of, untrained, upstream_class, upstreams

TRAINED = "trained"  # in the place of a file: made first, by its own recipe (system_weights.py)


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
        settings: of --set: options of its constructor, its knob, `exits`. Its `weights` may be
            TRAINED.
        span: of its exits; () = its own.
    """

    spec: str
    settings: Mapping[str, str]
    span: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.settings.items()]
        return " ".join([self.spec, *words, *(f"span={span}" for span in self.span)])

    @property
    def trained(self) -> bool:
        """Whether its weights are made for the table."""
        return self.settings.get("weights") == TRAINED

    @property
    def without_weights(self) -> "System":
        """One whose weights are not made yet has random ones; itself where it has some."""
        if not self.trained:
            return self
        settings = {name: value for name, value in self.settings.items() if name != "weights"}
        return replace(self, settings=settings)

    @cached_property
    def facts(self) -> Facts:
        """It is built to be asked.

        Raises: BenchmarkError where an option does not fit, or its weights are not to be had.
        """
        known, settings = options_of(self.spec), self.without_weights.settings
        options = {name: value for name, value in settings.items() if name in known}
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
    name, _, own = (spec, "", "") if ".py:" in spec else spec.partition(".")
    sets = [one for one in upstream_class(spec).compared if one.get("tag", own) == own or not own]
    return [_system(name, {**one, **({"tag": own} if own else {})}) for one in sets or [{}]]


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


def unbuildable(system: System) -> str:
    """Why it cannot be built, or "": it is tried."""
    try:
        _ = system.facts
    except BenchmarkError as error:
        return str(error)
    return ""


def _lacking(system: System, task: str) -> str:
    """Why it is left out of a comparison where nobody has named it, or ""."""
    if why := unbuildable(system):
        return why
    card = system.facts.card
    if card.tasks and task not in card.tasks:
        return f"it is for {', '.join(card.tasks)} alone"
    if system.trained:
        return ""
    return "its weights are random ones" if untrained(card.revision) else ""
