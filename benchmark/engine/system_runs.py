"""The runs that make the rows of a table of systems, and of their controls."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import UsageError, did_you_mean
from ..registry import options_of, untrained
from .experiment import Row, RunConfig
from .resolve import resolve
from .several import Part
from .systems import Facts, System, unbuildable


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
    words = [word.strip() for word in words]
    fixed = {int(word) for word in words if word.isdecimal()}
    exits = ",".join(filter(None, [*words, *(dealt if knob else ())]))

    def wanted(row: Row) -> bool:
        if row.cell.layer_norm is False:
            return False
        usual = row.depth is None or row.cell.exit == "full" or row.alone
        return usual or answers or "static" in words or row.depth in fixed

    return Part(name_of(system, like), _config(system, exits, like), wanted)


def name_of(system: System, like: RunConfig) -> str:
    """What its run is called."""
    return f"{like.task}, seed {like.seed}, {system}"


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
            if why := unbuildable(other):
                left_out.append(f"{other}: {why}")
                continue
            found.append(Part(name_of(other, like), _config(other, "", like), _full))
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
