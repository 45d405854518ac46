"""The documentation: links lead somewhere, tables are those of results/, commands and code run.

`make test` runs every Python block, and the commands of README, quickstart and contract; `make
docs` (marker `docs`) those of all pages. Both on small built-in corpora, with few training steps.
"""

import contextlib
import doctest
import io
import re
import shlex
import sys
from dataclasses import fields, replace

import board_tables
import pages
import pytest
from earlyexit_superb.benchmark import commands as verbs
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import data
from earlyexit_superb.benchmark.commands.parser import Parser
from earlyexit_superb.benchmark.engine import cost
from earlyexit_superb.benchmark.registry import tasks, upstream_class
from pages import PAGES, ROOT, blocks

ALL = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES)
QUICK = (
    "README.md",
    "docs/quickstart.md",
    "docs/contract.md",
)  # whose commands `make test` runs, too
VERBS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
TOOLS = (". .venv/bin/activate", "pip install", "make ", "torchrun ")  # beside run_benchmark.py


# ---- what a page says ----------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 12 * 1024


@EACH_PAGE
def test_links_lead_to_files_and_headings(page):
    lost = [
        f"{path.name}#{anchor}"
        for path, anchor in pages.links(page)
        if not path.exists() or (anchor and anchor not in pages.anchors(path))
    ]
    assert not lost


@EACH_PAGE
def test_files_that_are_named_are_there(page):
    def there(name):
        return any(list(ROOT.glob(n)) for n in _braces(name.rstrip("/.,")))

    assert [n for n in pages.files_named(page) if "local" not in n and not there(n)] == []


def _braces(name):
    """a{b,c} -> ab, ac"""
    before, brace, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return [before + one + after for one in inside.split(",")] if brace else [name]


def test_every_page_is_reached_from_the_readme():
    reached = {path for path, _ in pages.links("README.md")}
    assert [
        page for page, path in PAGES.items() if page.startswith("docs/") and path not in reached
    ] == []


def test_tables_are_those_of_results():
    made = board_tables.tables()
    there = {(page, name): table for page in PAGES for name, table in pages.shown(page).items()}
    assert {name for _, name in there} == set(made)
    for (page, name), table in there.items():
        assert table == made[name], f"{page}; run: python tests/pages.py"


def test_no_adaptive_row_is_better_than_fixed_exits_at_its_cost_as_the_readme_says():
    """By the 95 % intervals of the committed rows."""
    for task in board_tables.FIRST:
        higher = tasks.get(task).metrics[0].higher_is_better
        told = [line for line in board_tables.worth(task).values() if line["vs_curve"] is not None]
        assert len(told) >= 6
        for line in told:
            assert line["vs_curve_low"] <= 0 if higher else line["vs_curve_high"] >= 0


def test_the_example_of_the_readme_is_short_and_that_of_the_contract_page():
    [first], [second] = (
        [b for b in blocks(p) if b.file == "mine.py"] for p in (QUICK[0], QUICK[2])
    )
    assert first.text == second.text and len(first.text.splitlines()) - 1 <= 30


# ---- commands are accepted -----------------------------------------------------------------------


def test_blocks_are_of_known_kinds():
    for block in ALL:
        assert block.language in ("sh", "python", "pycon", "yaml", "text"), (
            f"{block}: {block.language}"
        )
        assert not block.verb or block.verb in VERBS, f"{block}: make {block.verb}"
        assert block.needs or not block.first.startswith("not run"), f"{block} needs what?"


class Accepted(BaseException):
    """A parser took the words."""


@pytest.fixture
def parsers_only(monkeypatch):
    """Every verb ends with `Accepted` where it would begin its work."""
    taken = Parser.parse_args

    def accepted(parser, *words, **more):
        raise Accepted(taken(parser, *words, **more))

    monkeypatch.setattr(Parser, "parse_args", accepted)


@pytest.mark.parametrize("verb", ["", *verbs.VERBS, *(f"data {k}" for k in data.KINDS), "cache rm"])
def test_help_has_an_example_that_is_accepted(verb, parsers_only, capsys):
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    said = capsys.readouterr().out
    example = shlex.split(said.partition("example:\n")[2])
    assert example[0] == "run_benchmark.py" and example[1 : 1 + len(verb.split())] == (
        verb.split() if verb != "run" else ["--upstream"]
    )
    assert all(len(line) <= 100 for line in said.splitlines())
    with pytest.raises(Accepted):
        main(example[1:])


def test_help_lists_every_verb_with_a_line(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {verb:11}  {about}\n" in said for verb, about in verbs.VERBS.items())


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_accepted_by_their_parsers(block, parsers_only):
    """Names too: upstreams, tasks, protocols and the keys of --set."""
    for line in block.commands:
        words = _words(line)
        if "run_benchmark.py" not in words:
            assert line.startswith(TOOLS), f"{block}: {line}"
            _tool(words)
            continue
        with pytest.raises(Accepted) as found:
            main(words[words.index("run_benchmark.py") + 1 :])
        _known(found.value.args[0], words)


def _words(line):
    return shlex.split(line, comments=True)


def _tool(words):
    """Verbs are in the Makefile, extras in setup.cfg."""
    if words[0] == "make":
        assert words[1] in VERBS
    for extras in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
        declared = re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text(), re.M)
        assert set(extras.split(",")) <= set(declared)


def several(value):
    if isinstance(value, list):
        return value
    return [value] if value else []


def _known(args, words):
    specs, named = several(getattr(args, "upstream", None)), several(getattr(args, "task", None))
    named = [task for task in named if task != "all"]
    mine = [name for name in specs + named if ".py:" in name]
    for spec in set(specs) - set(mine):
        upstream_class(spec)
    for task in set(named) - set(mine):
        protocols = tasks.get(task).protocols
        assert set(several(getattr(args, "protocol", None))) <= set(protocols)
    if not mine and specs and named and "train" not in words:
        given = {text.partition("=")[0] for text in args.set}
        assert given <= {key for u in specs for t in named for key in _settings(u, t)}


def _settings(spec, task):
    import inspect

    cls, protocol = upstream_class(spec), next(iter(tasks.get(task).protocols.values()))
    yield from inspect.signature(cls).parameters
    yield from (field.name for field in fields(protocol))
    yield from ("exits", cls.knob)


# ---- and done ------------------------------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path, small_builtins, monkeypatch):
    """A folder like the checkout, built-in corpora of a few utterances, recipes of few steps."""
    for name in ("run_benchmark.py", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").mkdir()
    for folder in (ROOT / "results").iterdir():
        if folder.is_dir() and folder.name not in ("local", "heads"):
            (tmp_path / "results" / folder.name).symlink_to(folder)
    for name in tasks.names():
        task = tasks.get(name)
        monkeypatch.setitem(tasks._found, name, _small(task))
    monkeypatch.setattr(cost, "TIMED", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_benchmark.py"])
    return tmp_path


def _small(task):
    mini = task.protocols["mini"]
    few = {"steps": 1, "eval_every": 1, "batch": 2, "bucket": 4 * bool(mini.bucket)}
    mini = replace(mini, **few, train_limit=8, dev_limit=1, test_limit=2)
    return replace(task, protocols={**task.protocols, "mini": mini})


def run(page, folder, commands):
    """The blocks of a page, one after the other.

    Args:
        commands: which shell blocks to run: a function of the block.
    """
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.needs or block.verb not in ("", "docs"):
            continue
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, str(block), "exec"), names)
        elif block.language == "pycon":
            _session(block, names)
        elif block.language == "sh" and commands(block):
            for line in block.commands:
                if not line.startswith("make "):  # runs by itself what it says
                    _command(block, line)


def _session(block, names):
    example = doctest.DocTestParser().get_doctest(
        block.text, names, str(block), block.page, block.line
    )
    said = io.StringIO()
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=said.write, clear_globs=False)
    names.update(example.globs)
    assert not failed, said.getvalue()


def _command(block, line):
    words, expected = _words(line), re.search(r"# exit status (\d)", line)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        status = main(words[words.index("run_benchmark.py") + 1 :])
    assert status == (int(expected[1]) if expected else 0), (
        f"{block}: {line}\n{said.getvalue()[-2000:]}"
    )


CODE = [page for page in PAGES if any(b.language in ("python", "pycon") for b in blocks(page))]


@pytest.mark.parametrize("page", dict.fromkeys((*QUICK, *CODE)))
def test_a_page_runs(page, scratch):
    run(page, scratch, lambda block: page in QUICK and not block.verb)


@pytest.mark.docs
@EACH_PAGE
def test_all_of_a_page_runs(page, scratch):
    run(page, scratch, lambda block: True)


@pytest.mark.docs
@pytest.mark.parametrize("block", [block for block in ALL if block.needs], ids=str)
def test_a_block_that_cannot_be_run_here(block):
    pytest.skip(f"not run here: needs {block.needs}")
