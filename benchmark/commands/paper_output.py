"""What the verb `paper` prints and writes: a table, a figure, and which there are."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.paper_weights import Conditions
    from ..report.paper_table import Made
    from ..report.papers.shape import Line, Paper


def table(
    paper: "Paper",
    number: str,
    lines: "Sequence[Line]",
    asked: "Conditions",
    printed: "pd.DataFrame",
    stem: Path,
) -> list[Path]:
    """Print a table and write its files, whose names begin with `stem`; their paths."""
    from ..engine.paper_rows import rows
    from ..report import paper_claims, paper_table
    from ..report.paper_text import About, texts
    from ..report.row_notes import warn
    from ..storage import write_text

    of = paper.tables[number]
    made, found, lacking = rows(lines, asked, curves=True)
    warn(found)
    numbers = paper_table.numbers(made, printed)
    told = paper_claims.claims(made, of, found)
    lm = ", ".join(f"{k}={Path(v).name if '/' in v else v}" for k, v in asked.decoding.items())
    about = About(paper, number, lacking, how(made, asked), asked.size, asked.aimed, lm)
    markdown, tex = texts(about, numbers, told)
    csv, differences = (one.to_csv(index=False, lineterminator="\n") for one in (numbers, told))
    files = {".csv": csv, "_differences.csv": differences, ".md": markdown, ".tex": tex}
    paths = [stem.with_name(f"{stem.name}{end}") for end in files]
    for path, text in zip(paths, files.values(), strict=True):
        write_text(path, text)
    print(markdown, end="")
    return paths


def figure(
    paper: "Paper",
    number: str,
    lines: "Sequence[Line]",
    asked: "Conditions",
    printed: "pd.DataFrame",
    stem: Path,
) -> list[Path]:
    """Draw a figure, print what it leaves out, and write its files, whose names begin with `stem`;
    their paths."""
    from ..engine.paper_rows import rows
    from ..errors import UsageError
    from ..report.row_notes import warn
    from .figure import files

    of = paper.figures[number]
    made, found, lacking = rows(lines, asked, curves=False)
    warn(found)
    if not any(one.rows for one in made):
        told = "; ".join(lacking) or "its rows were refused, as said above"
        raise UsageError(f"paper {paper.name}: --figure {number} has nothing to draw: {told}")
    module = import_module(f"..report.figures.{of.kind}", __package__)
    shown = module.frame(made, printed)
    print("\n".join([f"Figure {number} of {paper.reference}: {of.title}.", *of.notes, *lacking]))
    return files(stem.name, shown, module.draw, stem.parent)


def how(made: "Sequence[Made]", asked: "Conditions") -> dict[str, str]:
    """Training -> its upstream and what it was asked for, in words."""
    from ..engine.paper_weights import config, needed

    trainings = [one.line.training for one in made if one.rows and one.line.training]
    out = {}
    for of in dict.fromkeys(one for training in trainings for one in needed(training, asked)):
        settings = dict(config(of, asked, asked.seeds[0]).settings)
        begins = f", from {of.start.name}" if settings.pop("weights", "") else ""
        words = " ".join(f"{k}={v}" for k, v in settings.items())
        taught = f", teacher {of.teacher.spec(asked.size)}" if of.teacher else ""
        trained = f"preset {of.preset_at(asked.size)}, {words}".rstrip(", ") + taught + begins
        given = asked.given.get(of.name)
        told = f"weights {Path(given).name}" if given else trained
        out[of.name] = f"{of.model.spec(asked.size)}, {told}"
    return out


# ---- what there is -------------------------------------------------------------------------------


def described(paper: "Paper") -> Iterator[str]:
    """The lines that say which tables and figures there are."""
    yield f"{paper.name}: {paper.reference}"
    for kind, known in (("table", paper.tables), ("figure", paper.figures)):
        for number, of in known.items():
            known = [line.training for line in of.lines if line.training]
            count = len({one.name for training in known for one in training.chain})
            yield f"  --{kind} {number}  {of.title}; {count} trainings"


def trainings(paper: "Paper") -> Iterator[str]:
    """The lines that say which weights they take, as `--weights` names them."""
    from ..report.papers.shape import PUBLISHED, SMALL

    yield "trainings:"
    every = [*paper.tables.values(), *paper.figures.values()]
    known = [line.training for of in every for line in of.lines if line.training]
    for of in dict.fromkeys(one for training in known for one in training.chain):
        here, there = (
            " ".join([of.model.spec(size), *(f"{k}={v}" for k, v in options.items())])
            for size in (SMALL, PUBLISHED)
            for options in [{**of.recipe, **of.options(size)}]
        )
        begins = f", from {of.start.name}" if of.start else ""
        yield f"  {of.name}: {here}, or {there} by preset {of.preset}{begins}"
