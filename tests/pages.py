"""The documentation as what a test can hold: blocks to run, links to follow, tables of results/.

The first line of a block says what is special about it:

    # name.py           it is written to a file of that name, beside the blocks below it
    # run by make demo  another verb of the Makefile runs it
    # not run here: needs X   and X is not here; its commands are only held against their parsers

A line that should fail ends in a comment such as `# exit status 2: why`.

python tests/pages.py writes the tables of results/ into the pages that show them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
BACKBONE = "hubert.tiny(front=projection)"
RANDOM = "hubert.tiny(weights=random, front=projection)"
SHOWN = (BACKBONE, "daisy.tiny")


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


def tables() -> dict[str, str]:
    """Name -> Markdown, from the committed rows."""
    return {"se": _as_printed(), "tasks": _every_task(), "control": _control()}


def lines(task: str) -> list[dict]:
    """One for a cell: the mean over its seeds, where there are several."""
    from earlyexit_superb.benchmark.report.leaderboard import row
    from earlyexit_superb.benchmark.report.result import load_all

    return of_cells([row(result) for result in load_all(ROOT / "results", task)])


def of_cells(of_seeds: list[dict]) -> list[dict]:
    from earlyexit_superb.benchmark.report.leaderboard import aggregated, cell_of

    means = aggregated(of_seeds)
    averaged = {cell_of(line) for line in means}
    return means + [line for line in of_seeds if cell_of(line) not in averaged]


def by_key(lines: list[dict], key: Callable[[dict], tuple]) -> dict[tuple, dict]:
    """Two lines of one key, of other weights or another corpus, would hide one another."""
    found = {key(line): line for line in lines}
    if len(found) < len(lines):
        raise ValueError("results/ has rows that stand in one place of a page; remove the old ones")
    return found


def _as_printed() -> str:
    """The rows of `--upstream daisy --task se --rho 0.7`, best first."""
    from earlyexit_superb.benchmark.report.leaderboard import LEADING, board
    from earlyexit_superb.benchmark.report.result import load_all
    from earlyexit_superb.benchmark.report.screen import markdown, screen

    found = load_all(ROOT / "results", "se")
    shown = [
        r for r in found if r.cell.upstream in (BACKBONE, "unprocessed") or r.cell.value == 0.7
    ]
    kept = [
        "upstream",
        "exit",
        "span",
        "pesq",
        "stoi",
        "si_sdr_improvement",
        "depth",
        "GMAC/s",
        "RTFx",
        "params (M)",
        "macs_saved",
        "time_saved",
    ]
    frame = board(shown)
    alone = ~frame.duplicated([name for name in LEADING if name != "seed"], keep=False)
    frame = frame[alone | frame["seed"].astype(str).str.startswith("mean")]
    return markdown(screen(frame)[kept]) + "\n"


FIRST = {
    "se": "se: PESQ",
    "asr": "asr: WER, %",
    "sid": "sid: accuracy, %",
    "ss": "ss: SI-SDR improvement, dB",
}


def _every_task() -> str:
    """The first metric of every task, row by row, with the cost of se."""
    of = {
        task: by_key([line for line in lines(task) if line["upstream"] in SHOWN], _key)
        for task in FIRST
    }
    keys = [
        ("full", None, None, None),
        ("full + layer-norm", None, None, None),
        ("depth 6 + layer-norm", None, None, None),
        *(
            ("adaptive", rho, None, span)
            for rho in (0.7, 1.0)
            for span in ("mean", "threshold", "min-max")
        ),
    ]
    heading = ["exit", *FIRST.values(), "depth", "GMAC/s", "params (M)", "MACs saved"]
    out = [heading, ["---"] * len(heading)]
    for key in keys:
        exit, rho, _, span = key
        line = of["se"][key]
        out.append(
            [
                exit if rho is None else f"DAISY, rho {rho:g}, {span}",
                *(_interval(of[task].get(key), task) for task in FIRST),
                f"{line['depth']:.2f}",
                f"{line['gmacs_per_s']:.2f}",
                f"{line['params_m']:.1f}",
                f"{line['macs_saved']:.1f} %",
            ]
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def _control() -> str:
    """Full depth beside random weights of the same shape."""
    out = [
        [
            "full depth, 95 % interval",
            "model",
            "random weights",
            "model, layer-norm",
            "random, layer-norm",
        ]
    ]
    out.append(["---"] * 5)
    for task, name in FIRST.items():
        plain = [line for line in lines(task) if line["value"] is None]
        of = by_key(plain, lambda line: (line["upstream"], line["exit"]))
        floor = of.get(("unprocessed", "unprocessed"))
        noisy = f" (noisy input {floor['pesq']:.2f})" if task == "se" else ""
        out.append(
            [
                name + noisy,
                *(
                    _interval(of[who, how], task)
                    for how in ("full", "full + layer-norm")
                    for who in (BACKBONE, RANDOM)
                ),
            ]
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def _key(line: dict) -> tuple:
    return line["exit"], line["value"], line["test_value"], line["span"]


def _interval(line: dict | None, task: str) -> str:
    if line is None:
        return ""
    metric = {"se": "pesq", "asr": "wer", "sid": "accuracy", "ss": "si_sdr_improvement"}[task]
    mean, low, high, sd = (line[metric + end] for end in ("", "_low", "_high", "_sd"))
    if low is None:  # over seeds
        return f"{mean:.2f} ± {sd:.2f}"
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def shown(page: str) -> dict[str, str]:
    """Name -> the table as the page has it."""
    return {m[2]: m[3] for m in TABLE.finditer(PAGES[page].read_text(encoding="utf-8"))}


def write_tables() -> None:
    made = tables()
    for path in PAGES.values():
        text = path.read_text(encoding="utf-8")
        path.write_text(TABLE.sub(lambda m: m[1] + made[m[2]], text), encoding="utf-8")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT))
    import run_benchmark  # noqa: F401  makes earlyexit_superb importable

    write_tables()
