"""A benchmark harness for early-exit speech self-supervised models: metric versus compute saved.

The public names are imported when they are first used, so that `import earlyexit_superb` costs
nothing and works where packages are missing (`missing()` lists them).

>>> import earlyexit_superb
>>> upstream = earlyexit_superb.build_upstream("hubert")
>>> upstream.card.name, upstream.card.depth
('hubert.tiny', 12)
>>> all(finding.ok for finding in earlyexit_superb.check_upstream(upstream))
True

`run` does what the command line does, and returns the rows of its table:

    rows = earlyexit_superb.run("daisy", "se", rho=[0.7])
    print([(row.cell.exit, row.scores["pesq"].mean, row.cost.macs_saved) for row in rows])

This folder is the root of the installed package; the rooms of the checkout lie beside it there.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .benchmark.extras import lacking, missing

if TYPE_CHECKING:
    from .benchmark.conformance import check_upstream
    from .benchmark.contract import Task, Upstream, UpstreamCard
    from .benchmark.exiting import Exit
    from .benchmark.registry import build_upstream
    from .benchmark.report.result import Result

    __version__: str

__all__ = [
    "Exit",
    "Result",
    "Task",
    "Upstream",
    "UpstreamCard",
    "__version__",
    "build_upstream",
    "check_upstream",
    "missing",
    "run",
]
WHERE = {
    "Exit": "benchmark.exiting",
    "Result": "benchmark.report.result",
    "Task": "benchmark.contract",
    "Upstream": "benchmark.contract",
    "UpstreamCard": "benchmark.contract",
    "build_upstream": "benchmark.registry",
    "check_upstream": "benchmark.conformance",
}
COMMANDS = ("run_benchmark.py", "earlyexit-superb")  # which say by themselves what is missing


def run(upstream: str, task: str, rho: Sequence[float] = (), **options: Any) -> "list[Result]":
    """Benchmark `upstream` on `task`: a Result a row, made where it is not there yet.

    Args:
        upstream: a name, name.tag, hf:ID, torchaudio:BUNDLE, s3prl:NAME or
            path/to/file.py:Class, as `--upstream` takes it.
        task: a name, as `--task` takes it.
        rho: DAISY's spelling of knobs={"rho": ...}.
        options: fields of `benchmark.engine.experiment.RunConfig`, spelt like the options
            of the command line: knobs, span, data, protocol, seed, device, results,
            settings (--set), force, lr.
    Raises:
        UsageError: an unknown name or option, or a corpus that does not fit.
        MachineError: a package, a permission or disk space is missing.
    A row that could not be made is left out, with a warning.
    """
    _require("run")
    from .benchmark.engine.experiment import RunConfig
    from .benchmark.engine.resolve import resolve
    from .benchmark.engine.run import results

    if rho:
        options["knobs"] = {**options.get("knobs", {}), "rho": tuple(rho)}
    try:
        made, refused = results(resolve(RunConfig(upstream, task, **options)))
    except SystemExit as error:  # a plug-in would end the caller's program, as if it were done
        from .benchmark.foreign import as_sentence

        raise as_sentence(error) or error from error
    for sentence in refused:
        warnings.warn(sentence, stacklevel=2)
    return made


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from .benchmark.report.provenance import release

        return release()
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _require(name)
    return getattr(import_module(f".{WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__


def _require(name: str) -> None:
    if absent := missing():
        from .benchmark.errors import MachineError

        raise MachineError(lacking(f"earlyexit_superb.{name}", absent))


if missing() and Path(sys.argv[0]).name not in COMMANDS:
    print(lacking("earlyexit_superb", missing()), file=sys.stderr)
