"""Name -> plug-in, importing only the one that is asked for."""

import hashlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar

from .errors import BenchmarkError, UsageError, did_you_mean
from .foreign import prints_to_stderr
from .heartbeat import Heartbeat


class Registry:
    """One room's plug-ins. The file name is the plug-in name; other distributions add theirs by
    entry point, and anybody by path/to/file.py:NAME.

    Attributes:
        KINDS: what a room's plug-ins are in benchmark/contract: a class, or what one makes.
    """

    KINDS: ClassVar = {"upstreams": "Upstream", "tasks": "Task"}

    def __init__(self, room: str):
        self.room, self.package, self.kind = room, f"earlyexit_superb.{room}", self.KINDS[room]
        self._found: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        def keep(plugin: Any) -> Any:
            if self._found.setdefault(name, plugin) is not plugin:
                raise ValueError(f"{name!r} is registered twice in {self.package}")
            return plugin

        return keep

    def names(self) -> list[str]:
        """Every name, in-tree and outside, importing none."""
        room = import_module(self.package).__path__
        # a folder is shared code
        here = {m.name for m in pkgutil.iter_modules(room) if not m.ispkg}
        return sorted(here | set(self._outside()))

    @prints_to_stderr()
    def get(self, name: str) -> Any:
        """The plug-in of a name, or of path/to/file.py:NAME; UsageError when there is none."""
        if ".py:" in name:
            return self._in_file(name)
        if name not in self._found:
            if name not in self.names():
                raise UsageError(
                    f"no {self.room[:-1]} is called {name!r}: {did_you_mean(name, self.names())} "
                    f"(list them: run_benchmark.py ls {self.room})"
                )
            import_module(self._outside().get(name, f"{self.package}.{name}"))
            if name not in self._found:
                raise UsageError(
                    f"the plug-in module of {name!r} was imported but registers no "
                    f'{self.room[:-1]} of that name; it must call {self.room}.register("{name}")'
                )
        return self._found[name]

    def holds(self, plugin: Any) -> bool:
        """Whether something is of the kind that this room is for."""
        kind = getattr(import_module(".contract", __package__), self.kind)
        return issubclass(plugin, kind) if inspect.isclass(plugin) else isinstance(plugin, kind)

    def _in_file(self, spec: str) -> Any:
        """What NAME is in that file; known by its own name from then on, as rows say it."""
        what, found = self.room[:-1], from_file(spec)
        if not self.holds(found):
            raise UsageError(
                f"{what} {spec}: that is no {self.kind} of benchmark.contract but a "
                f"{type(found).__name__}"
            )
        name = getattr(found, "name", "")
        taken = name in self.names() or self._found.get(name, found) is not found
        if name and taken:
            raise UsageError(
                f"{what} {spec}: it calls itself {name}, which is another {what}'s name; give it "
                "one of its own"
            )
        if name:
            self._found[name] = found
        return found

    @property
    def full_size(self) -> str:
        """The adaptive upstream of published size; its room says which one that is."""
        return import_module(self.package).FULL_SIZE

    def probe(self, name: str) -> str:
        """Why `name` cannot be used here, or "": one broken plug-in never hides the others."""
        try:
            self.get(name)
        except BenchmarkError as error:
            return str(error)
        except (Exception, SystemExit) as error:  # a plug-in may fail in any way
            return f"{type(error).__name__}: {error}"
        return ""

    def _outside(self) -> dict[str, str]:
        return {e.name: e.module for e in entry_points(group=self.package)}


upstreams, tasks = Registry("upstreams"), Registry("tasks")


@prints_to_stderr()
def build_upstream(spec: str, options: Mapping[str, str] | None = None) -> Any:
    """ "name", "name.tag" or "path/to/file.py:Class" -> a ready upstream in evaluation mode.

    `options` go to the constructor; their names are checked against its signature and their values
    take the type of its defaults (command lines and YAML know only strings).
    """
    cls, given = upstream_class(spec), dict(options or {})
    tag = "" if ".py:" in spec else spec.partition(".")[2]
    if tag:
        given["tag"] = tag
    options = coerce(given, inspect.signature(cls).parameters, f"upstream {spec}")
    with Heartbeat(f"upstream {spec}") as alive:
        alive.step("its constructor")
        return cls(**options).eval()


def upstream_class(spec: str) -> Any:
    """The class behind a spec, nothing built."""
    found = upstreams.get(spec if ".py:" in spec else spec.partition(".")[0])
    if not inspect.isclass(found):  # a built one has no options
        raise UsageError(
            f"upstream {spec}: that is a {type(found).__name__} that is built already; name its "
            "class"
        )
    return found


def knob_of(spec: str, settings: Mapping[str, str]) -> str | None:
    """The name of an upstream's knob. A wrapper's is the inner one's: it is built to be asked."""
    cls = upstream_class(spec)
    if "knob" not in getattr(cls, "passed_on", ()):
        return cls.knob
    own = inspect.signature(cls).parameters
    return build_upstream(spec, {k: v for k, v in settings.items() if k in own}).knob


def coerce(
    given: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter], who: str
) -> dict[str, Any]:
    """Check option names against a signature and give every value the type of its default."""
    out = {}
    for key, value in given.items():
        if key not in parameters:
            raise UsageError(f"{who} has no option {key!r}: {did_you_mean(key, parameters)}")
        out[key] = as_type_of(parameters[key].default, value, f"{who}: {key}")
    return out


def as_type_of(default: Any, value: Any, what: str) -> Any:
    """`value` as the type of `default`. YAML 1.1 reads 1e-4 as text and `no` as False, so
    types are ours to settle.
    """
    if isinstance(default, bool):
        if str(value).lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            return str(value).lower() in ("1", "true", "yes", "on")
        raise UsageError(f"{what} is a yes or no, not {value!r}")
    for kind in (int, float):
        if isinstance(default, kind):
            try:
                return kind(value)
            except ValueError:
                raise UsageError(f"{what} is a number like {default!r}, not {value!r}") from None
    if isinstance(default, tuple):
        try:
            return tuple(
                float(v)
                for v in (
                    value
                    if isinstance(value, Sequence) and not isinstance(value, str)
                    else str(value).split(",")
                )
            )
        except ValueError:
            raise UsageError(f"{what} is numbers with commas between them, not {value!r}") from None
    return str(value) if isinstance(default, str) else value


@prints_to_stderr()
def from_file(spec: str) -> Any:
    """path/to/file.py:NAME -> what NAME is in that file, which is imported once."""
    path, _, attribute = spec.rpartition(":")
    file = Path(path).resolve()
    if not file.is_file():
        raise UsageError(f"{spec}: there is no file {file}; write path/to/file.py:NAME")
    name = f"earlyexit_superb_file_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        module_spec = spec_from_file_location(name, file)
        assert module_spec and module_spec.loader  # as for every file whose name ends in .py
        sys.modules[name] = module = module_from_spec(module_spec)
        try:
            module_spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(
                f"{spec}: {file.name} fails when it is imported ({type(error).__name__}: {error})"
            ) from error
    inside = vars(sys.modules[name])
    if attribute not in inside:
        own = [
            n
            for n, v in inside.items()
            if getattr(v, "__module__", name) == name or not inspect.isroutine(v)
        ]
        raise UsageError(
            f"{spec}: {file.name} has no {attribute!r}; "
            f"{did_you_mean(attribute, [n for n in own if n[0] != '_'])}"
        )
    return inside[attribute]


def untrained(revision: str) -> bool:
    """Whether a card's or a row's revision says that some of the weights are random ones."""
    return re.search(r"(^|[-+])random-", revision) is not None


def spelled(name: str, tag: str, **options: tuple[Any, Any]) -> str:
    """How a row names an upstream: plug-in.tag, and in brackets every (value, default) option that
    is not at its default.

    Paths are shortened to their last part; the revision says which weights they were.
    """
    shown = [
        f"{key}={Path(value).name if isinstance(value, str) and '/' in value else value}"
        for key, (value, default) in options.items()
        if value != default
    ]
    return name + (f".{tag}" if tag else "") + (f"({', '.join(shown)})" if shown else "")
