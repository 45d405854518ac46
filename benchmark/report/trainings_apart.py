"""Which rows are averaged as seeds of one recipe: those of weights that were trained by it, as
far as no two of them have a row of the same seed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .escaping import plain
from .notices import notice
from .result import Cell, Result


def trainings_apart(results: Sequence[Result]) -> list[Result]:
    """The same rows; those of a recipe by which two trainings have a row of one seed forget it, and
    so are told apart by their weights. A notice says so."""
    there = Counter(map(_training, results))
    twice = {recipe for (recipe, _), n in there.items() if recipe and n > 1}
    for recipe in sorted(twice):
        notice(
            f"several trainings by the recipe {plain(recipe)} have rows of the same seed, so they "
            "are shown apart; to have their mean, run each with the --seed that it was trained "
            "with, or move the older rows away"
        )
    return [
        replace(result, detail={**result.detail, "recipe": ""})
        if recipe_of(result) in twice
        else result
        for result in results
    ]


def recipe_of(result: Result) -> str:
    """By which its weights were trained; "" where that is not known."""
    return str(result.detail.get("recipe", ""))


def one_or_count(revisions: Iterable[str]) -> str:
    """The weights of a line over several rows."""
    found = set(revisions)
    return found.pop() if len(found) == 1 else f"{len(found)} trainings"


def _training(result: Result) -> tuple[str, Cell]:
    return recipe_of(result), replace(result.cell, revision="")
