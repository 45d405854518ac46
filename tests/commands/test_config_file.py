"""--config: a YAML file means what the same words on a command line mean, or is one sentence."""

import contextlib
import io

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import sweep
from earlyexit_superb.benchmark.commands.config_file import with_config
from earlyexit_superb.benchmark.commands.parser import run_parser
from earlyexit_superb.benchmark.engine.protocols import run_protocol
from earlyexit_superb.benchmark.errors import BenchmarkError, UsageError
from earlyexit_superb.benchmark.registry import tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = "upstream: daisy\ntask: se\n"
LAUGHS = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{b}, *{b}]\n" for b, c in ("ab", "bc", "cd"))


def told(folder, text, *more):
    """(exit status, the last line of stderr) of a run with that file."""
    data = text.encode() if isinstance(text, str) else text
    (folder / "c.yaml").write_bytes(data)
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = main(["--config", str(folder / "c.yaml"), *more])
    return status, err.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("upstream: daisy\nupstream: hubert\n", "'upstream' in line 2 is given twice"),
        (START + "set: {steps: 1, steps: 2}\n", "'steps' in line 3 is given twice"),
        (START + "force: maybe\n", "`force` is true or false, not 'maybe'"),
        (START + "seed: one\n", "--seed takes whole numbers"),
        (START + "seed: -1\n", "--seed takes whole numbers"),
        (START + f"seed: {'9' * 5000}\n", "--seed takes whole numbers"),
        ("upstream: [a, b]\ntask: se\n", "`upstream` takes one value, not the list"),
        ("upstream: {a: b}\ntask: se\n", "`upstream` takes a value, not a mapping"),
        (START + "rho: [[1]]\n", "`rho` takes plain values"),
        (START + "rho: ['0.7', --force]\n", "'--force' would be an option of its own"),
        (START + "rho: -h\n", "'-h' would be an option of its own"),
        (START + "set: [steps]\n", "`set` is a mapping"),
        (START + "set: {steps: {a: b}}\n", "steps takes a value or a list"),
        (START + "set: {'a=b': c}\n", "'a=b' is no name of a setting"),
        (START + "set: {test_limit: 0}\n", "--set test_limit is above 0, not 0"),
        (START + "precision: fp8\n", "--precision"),
        (START + "device: 3\n", "--device is cpu"),
        (START + 'data: "\\0"\n', "control character"),
        (START + 'data: "\\ud800"\n', "control character"),
        (START + 'data: "\\UFFFFFFFF"\n', "not YAML"),
        (START + "device: !!python/name:os.system boom\n", "--device is cpu"),
        (START + "? [a]\n: b\n", "no plain text"),
        (LAUGHS, "anchors and aliases"),
        ("upstream: &a daisy\n", "anchors and aliases"),
        ("[" * 100_000, "nested at most"),
        ("{a: " * 100_000, "nested at most"),
        ("a: b\n" * 300_000, "more than 1,048,576 bytes"),
        (b"upstream: d\xe4isy\n", "is not UTF-8 (byte 11)"),
        (START.encode("utf-16"), "is not UTF-8"),
        ("", "holds no options"),
        ("daisy\n", "holds no options"),
        ("--- a\n--- b\n", "not YAML"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "bytes",
)
def test_a_file_that_will_not_do_is_one_sentence(tmp_path, text, said):
    status, line = told(tmp_path, text)
    assert status == 2 and line.startswith("error: ") and said in line


def both(folder, text, *words, **parser):
    """The options of a file, and those of the same words."""
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    ours = vars(with_config(run_parser(), ["--config", str(folder / "c.yaml")]))
    theirs = vars(with_config(run_parser(), words))
    return [{k: v for k, v in of.items() if k != "config"} for of in (ours, theirs)]


def test_a_file_means_what_the_command_line_means(tmp_path):
    text = (
        "\ufeff" + START + 'rho: [0.7, 1]\nforce: "no"\njson: yes\nseed: [0, 010]\nlr:\n'
        "max_loss: -1\nset: {steps: 1_000, x: no, grid: [1e-4, 1e-3]}\ndata: here\nspan: ~\n"
    )
    words = "--upstream daisy --task se --rho 0.7 1 --json --seed 0 010 --max-loss -1"
    words += " --set steps=1_000 x=no grid=1e-4,1e-3 --data here"
    file, line = both(tmp_path, text, *words.split())
    assert file == line and file["force"] is False and file["json"] is True


def test_the_command_line_wins_at_its_defaults_too(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: [3, 4]\ndevice: cuda\nforce: true\nset: {a: 1, b: 2}\n")
    words = ["--config", str(file), "--seed", "0", "--device", "cpu", "--set", "b=3"]
    args = with_config(run_parser(), words)
    assert (args.seed, args.device, args.force) == (["0"], "cpu", True)
    assert args.set == {"a": "1", "b": "3"}


def test_a_sweep_takes_lists_and_whole_numbers(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("upstream: [daisy, hubert]\ntask: se\nworkers: two\n")
    with pytest.raises(UsageError, match="workers: invalid int value: 'two'"):
        sweep.parsed(["--config", str(file)])
    file.write_text("upstream: [daisy, hubert]\ntask: se\nworkers: 2\ndata: {se: vb}\n")
    args = sweep.parsed(["--config", str(file)])
    assert (args.workers, args.data, args.upstream) == (2, ["se=vb"], ["daisy", "hubert"])


WORDS = ("no", "0.7", "-1", "1e400", "nan", "~", "--force", "-h", "{}", "[]", "&", "*", "|", ">")
WORDS += ("%", "!", "'", '"', "\x00", "\ufeff", "\ud800", "\u2028", "<<", "? ")
SCALARS = st.one_of(st.text(max_size=8), st.sampled_from(WORDS), st.integers().map(str))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda of: f"[{', '.join(of)}]"),
        st.lists(st.tuples(SCALARS, inner), max_size=3).map(
            lambda of: "{" + ", ".join(f"{k}: {v}" for k, v in of) + "}"
        ),
    ),
    max_leaves=5,
)
KEYS = st.sampled_from([a.dest for a in run_parser()._actions] + ["<<", "x", "set"])
FILES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(KEYS, VALUES), max_size=4).map(
        lambda of: START + "".join(f"{key}: {value}\n" for key, value in of)
    ),
)
FEW = settings(
    max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@FEW
@given(FILES)
def test_any_file_is_options_or_one_sentence(tmp_path_factory, data):
    """What becomes of options afterwards is not tried: as far as names and types are settled."""
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    from earlyexit_superb.benchmark.commands.parser import requested

    try:
        args = with_config(run_parser(), ["--config", str(file)])
        configs = [] if args.version else requested(args)
    except BenchmarkError as error:
        assert error.code in (2, 3) and "\n" not in str(error).strip()
    else:
        again = with_config(run_parser(), ["--config", str(file)])
        assert configs == [] or configs == requested(again)


PROTOCOLS = [tasks.get(name).protocols["mini"] for name in ("asr", "se", "sid", "ss")]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    "setting",
    [
        *("steps=-1", "steps=0", "batch=0", "eval_every=0", "accumulate=0", "test_limit=0"),
        *("dev_limit=-3", "lr=nan", "lr=inf", "lr=0", "lr_grid=1e-3,-1", "clip=0", "bucket=-1"),
        *("optimiser=sgd", "steps=one", "steps=1.5", "decay=maybe", f"steps={10**20}"),
    ],
)
def test_a_field_has_a_range(protocol, setting):
    name, _, value = setting.partition("=")
    with pytest.raises(UsageError, match=rf"--set {name} |learning rate"):
        run_protocol(protocol, {name: value})
