"""The house rules that a machine can check: what is imported when, what a wheel holds."""

import ast
import configparser
import re
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT

ROOMS = ("upstreams", "downstreams", "tasks", "benchmark")
# becomes the root of the package, so its imports start there
PUBLIC = ROOT / "benchmark" / "public"
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


def test_folders_are_no_plug_ins(tmp_path, monkeypatch):
    from earlyexit_superb import upstreams as room
    from earlyexit_superb.benchmark.registry import upstreams

    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("")
    (tmp_path / "another.py").write_text("")
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    assert "another" in upstreams.names() and "shared" not in upstreams.names()


def test_help_imports_no_torch():
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import run_benchmark\n"
        "try: run_benchmark.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    assert (
        "--upstream"
        in subprocess.run(
            [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True
        ).stdout
    )


def test_files_are_one_idea_long():
    tests = (ROOT / "tests").rglob("*.py")
    lines = {str(p): len(p.read_text().splitlines()) for p in [*FILES, *tests]}
    assert {path: n for path, n in lines.items() if n > 300} == {}


def test_functions_of_tests_fit_a_screen():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        f"{path.relative_to(ROOT)}: {node.name}": length
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and (length := node.end_lineno - node.lineno + 1) > 50
    }
    assert long == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    names = tracked.stdout.split() if tracked.returncode == 0 else []
    if not names:
        pytest.fail("the wheel test needs git to list the project's files")
    for name in names:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(out),
            str(source),
        ],
        check=True,
    )
    return next(out.glob("*.whl"))


def version_of_setup_cfg():
    return re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(), re.M)[1]


def test_one_version_everywhere():
    assert (
        re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1]
        == version_of_setup_cfg()
    )
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[:1] in ([], [version_of_setup_cfg()])


def requirement(line):
    return re.split(r"[\[<>=; ]", line)[0].lower()


def test_setup_cfg_declares_what_messages_and_the_doctor_name():
    from earlyexit_superb.benchmark import extras

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = {
        name: {requirement(line) for line in value.strip().splitlines()}
        for name, value in setup["options.extras_require"].items()
    }
    assert {
        requirement(line) for line in setup["options"]["install_requires"].strip().splitlines()
    } == set(extras.CORE.values())
    for name, extra in extras.EXTRAS.items():
        assert lists[name] - {"setuptools"} == set(extra.modules.values()), name
    united = setup["options.extras_require"]["all"].strip()
    assert (
        set(re.fullmatch(r"earlyexit-superb\[(.*)\]", united)[1].split(","))
        == set(extras.EXTRAS) - extras.OUTSIDE_ALL
    )
    assert set(lists) - set(extras.EXTRAS) == {"all", "test", "lint"} and set(extras.BUILTIN) < set(
        extras.EXTRAS
    )
    users = {
        "s3prl",
        "torch",
        "torchaudio",
        "pesq",
        "pystoi",
        "asteroid",
        "jiwer",
        "pyyaml",
        "pandas",
        "pytest",
    }
    assert users <= set(extras.CORE.values()) | lists["test"] | {
        d for e in extras.EXTRAS.values() for d in e.modules.values()
    }


@EACH_FILE
def test_what_a_message_tells_to_install_brings_what_is_needed(path):
    from earlyexit_superb.benchmark import extras

    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "require"
        ):
            module, _, *extra = [
                argument.value for argument in node.args if isinstance(argument, ast.Constant)
            ]
            brought = extras.EXTRAS[extra[0]].modules if extra else extras.CORE
            assert module.split(".")[0] in {name.split(".")[0] for name in brought}, (
                f"{path.name}: {module} is not in {extra}"
            )


def in_wheel(path):
    return (
        "earlyexit_superb/"
        f"{path.name if path.parent == PUBLIC else path.relative_to(ROOT).as_posix()}"
    )


def test_the_wheel_is_the_tree(wheel):
    """Every file of the rooms, in nested folders too, and nothing else: setup.cfg lists
    packages and data by hand.
    """
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    shown = [
        *FILES,
        *(
            p
            for room in ROOMS
            for p in (ROOT / room).rglob("*")
            if p.suffix in (".safetensors", ".json", ".typed")
        ),
    ]
    assert inside == {in_wheel(path) for path in shown}


@pytest.fixture(scope="module")
def in_site(wheel, tmp_path_factory):
    """Runs code in a process that knows the installed wheel and not the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(wheel)], check=True)

    def run(code):
        first = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        words = [sys.executable, "-I", "-c", first + code, str(folder / "site")]
        return subprocess.run(words, capture_output=True, text=True, cwd=folder)

    run.site = folder / "site"
    return run


def test_the_installed_wheel_runs_from_another_folder(in_site):
    done = in_site(
        "from earlyexit_superb.benchmark import cli\n"
        "assert 'site' in cli.__file__; sys.exit(cli.main(['ls']))"
    )
    assert done.returncode == 0, done.stderr
    assert "upstream  daisy" in done.stdout and "task      se" in done.stdout
    scripts = {p.name for p in (in_site.site / "bin").iterdir()}
    assert {"run_benchmark.py", "earlyexit-superb"} <= scripts


def test_the_installed_wheel_says_what_to_install(in_site):
    told = in_site(
        "from earlyexit_superb.benchmark.errors import require; require('nothing.such', 'x', 'se')"
    ).stderr
    assert 'run: pip install "earlyexit-superb[se]" (or' in told and "constraints" not in told


def test_the_installed_wheel_is_a_library(in_site):
    told = in_site(
        "import earlyexit_superb as e\n"
        "assert 'site' in e.__file__; print(e.__version__, e.missing(), "
        "e.build_upstream('hubert').card.name)"
    )
    assert told.stdout == f"{version_of_setup_cfg()} [] hubert.tiny\n", told.stderr
