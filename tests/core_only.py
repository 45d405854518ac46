"""The command line where nothing is installed but the core, or less: python core_only.py
MODULE,... -- ARGUMENTS.

The modules named first are hidden too. What the core's distributions require stays visible.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).parents[1]


def closure(names):
    """Distributions and whatever they require without their extras, normalised."""
    seen, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name not in seen:
            seen.add(name)
            try:
                lines = requires(name) or ()
            except PackageNotFoundError:
                continue
            todo += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return seen


class Hiding:
    """One finder of sys.meta_path that does not see some top-level modules."""

    def __init__(self, finder, hidden):
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name, path=None, target=None):
        return (
            None if name.split(".")[0] in self.hidden else self.finder.find_spec(name, path, target)
        )


def hide(more=()):
    sys.path.insert(0, str(ROOT))
    from benchmark.extras import CORE  # a module without imports of its own

    kept = closure(CORE.values())
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & kept
    }
    hidden |= set(more)
    sys.meta_path[:] = [Hiding(finder, hidden - {"earlyexit_superb"}) for finder in sys.meta_path]
    for module in [name for name in sys.modules if name.split(".")[0] in {"benchmark", *hidden}]:
        del sys.modules[module]


if __name__ == "__main__":
    names, _, *arguments = sys.argv[1:]
    hide(filter(None, names.split(",")))
    sys.argv[1:] = arguments
    if arguments[:1] == ["-c"]:
        import run_benchmark

        exec(arguments[1])
    else:
        import run_benchmark

        sys.exit(run_benchmark.main(arguments))
