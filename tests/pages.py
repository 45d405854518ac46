"""The documentation as what a test can hold: blocks to run, links to follow, tables of results/.

The first line of a block says what is special about it:

    # name.py           it is written to a file of that name, beside the blocks below it
    # run by make demo  another verb of the Makefile runs it
    # not run here: needs X   and X is not here; its commands are only held against their parsers

A line that should fail ends in a comment such as `# exit status 2: why`.

python tests/pages.py writes the tables of results/ into the pages that show them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import board_tables

ROOT = Path(__file__).parents[1]
PAGES = {
    p.relative_to(ROOT).as_posix(): p
    for p in (
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/*.md")),
        ROOT / "results" / "README.md",
    )
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(?=<!-- end of table -->)", re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: of its first line in the page, from 1.
        language: sh, python, pycon, yaml or text.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        line = self.text.partition("\n")[0]
        return line.removeprefix("# ") if line.startswith("# ") else ""

    @property
    def needs(self) -> str:
        """What keeps it from being run here, or ""."""
        return self.first.partition("not run here: needs ")[2]

    @property
    def verb(self) -> str:
        """The verb of the Makefile that runs it, or ""."""
        return self.first.partition("run by make ")[2]

    @property
    def file(self) -> str:
        """The name under which it is kept, or ""."""
        return self.first if re.fullmatch(r"\w+\.(py|yaml)", self.first) else ""

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that do something."""
        return [line for line in self.text.splitlines() if line.strip() and line[0] != "#"]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    text = PAGES[page].read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start(2)) + 1, m[1], m[2]) for m in FENCE.finditer(text)
    ]


# ---- links ---------------------------------------------------------------------------------------


def prose(page: str) -> str:
    """The page without its blocks."""
    return FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))


def links(page: str) -> Iterator[tuple[Path, str]]:
    """(file, anchor) of every link that stays in the project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield ((PAGES[page].parent / file).resolve() if file else PAGES[page]), anchor


def anchors(path: Path) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", h).lower() for h in headings)
    return {re.sub(r"[^\w\- ]", "", h).strip().replace(" ", "-") for h in plain}


def files_named(page: str) -> list[str]:
    """Paths of the project that its prose names as code."""
    rooms = "benchmark|upstreams|downstreams|tasks|tests|docs|results"
    return re.findall(rf"`(?:python )?((?:{rooms})/[\w./*{{}},-]*)", prose(page))


# ---- tables of results/ --------------------------------------------------------------------------


def shown(page: str) -> dict[str, str]:
    """Name -> the table as the page has it."""
    return {m[2]: m[3] for m in TABLE.finditer(PAGES[page].read_text(encoding="utf-8"))}


def write_tables() -> None:
    made = board_tables.tables()
    for path in PAGES.values():
        text = path.read_text(encoding="utf-8")
        path.write_text(TABLE.sub(lambda m: m[1] + made[m[2]], text), encoding="utf-8")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT))
    import run_benchmark  # noqa: F401  makes earlyexit_superb importable

    write_tables()
