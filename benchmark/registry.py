"""Name -> plug-in, importing only the one that is asked for."""

import hashlib
import inspect
import math
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

    A file in the room's folder `external` is a *source*, whose name ends in a colon: it makes a
    plug-in of whatever is named after that (hf:ID), which its constructor takes as `model`.

    Attributes:
        KINDS: what a room's plug-ins are in benchmark/contract: a class, or what one makes.
        HINTS: what else a file that holds none may be, and how that is written.
    """

    KINDS: ClassVar = {"upstreams": "Upstream", "tasks": "Task"}
    HINTS: ClassVar = {"upstreams": "; an s3prl expert is written s3prl:path/to/expert.py"}

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
        return sorted(name for name in self._modules() if not name.endswith(":"))

    def sources(self) -> list[str]:
        """Every name before something of another library, with its colon."""
        return sorted(name for name in self._modules() if name.endswith(":"))

    def split(self, spec: str) -> tuple[str, dict[str, str]]:
        """The plug-in's name in a spec, and the constructor's option that the spec states.

        "name.tag" states `tag`, "source:rest" states `model`, path/to/file.py:NAME states none.
        """
        source, colon, rest = spec.partition(":")
        named = source.replace("-", "_").isidentifier()  # no path
        if colon and named and source + colon in self.sources():
            if not rest:
                raise UsageError(f"{self.room[:-1]} {spec} names nothing after the colon")
            return source + colon, {"model": rest}
        if ".py:" in spec:
            return spec, {}
        if spec.endswith(".py"):
            raise UsageError(f"{self.room[:-1]} {spec}: write {spec}:NAME{self._hint}")
        name, _, tag = spec.partition(".")
        return name, {"tag": tag} if tag else {}

    @prints_to_stderr()
    def get(self, name: str) -> Any:
        """The plug-in of a name, or of path/to/file.py:NAME; UsageError when there is none."""
        if ".py:" in name:
            return self._in_file(name)
        if name not in self._found:
            modules = self._modules()
            if name not in modules:
                before_colon = name[: name.find(":") + 1]
                near = did_you_mean(before_colon or name, modules)
                raise UsageError(
                    f"no {self.room[:-1]} is called {name!r}: {near} "
                    f"(list them: run_benchmark.py ls {self.room})"
                )
            import_module(modules[name])
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
        what = self.room[:-1]
        if spec.endswith(":UpstreamExpert"):
            raise UsageError(f"{what} {spec} is no {self.kind}{self._hint}")
        found = from_file(spec)
        if not self.holds(found):
            raise UsageError(
                f"{what} {spec}: that is no {self.kind} of benchmark.contract but a "
                f"{type(found).__name__}{self._hint}"
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

    @property
    def _hint(self) -> str:
        return self.HINTS.get(self.room, "")

    def _modules(self) -> dict[str, str]:
        """Name -> module, in-tree and outside, importing none. Any other folder is shared code."""
        room = import_module(self.package).__path__
        there = pkgutil.iter_modules([f"{folder}/external" for folder in room])
        return (
            {m.name: f"{self.package}.{m.name}" for m in pkgutil.iter_modules(room) if not m.ispkg}
            | {f"{m.name}:": f"{self.package}.external.{m.name}" for m in there}
            | {e.name: e.module for e in entry_points(group=self.package)}
        )


upstreams, tasks = Registry("upstreams"), Registry("tasks")


@prints_to_stderr()
def build_upstream(spec: str, options: Mapping[str, str] | None = None) -> Any:
    """ "name", "name.tag", "source:model" or "path/to/file.py:Class" -> a ready upstream in
    evaluation mode.

    `options` go to the constructor; their names are checked against its signature and their values
    take the type of its defaults (command lines and YAML know only strings).
    """
    cls, given, stated = upstream_class(spec), dict(options or {}), upstreams.split(spec)[1]
    if "model" in given and "model" in stated:
        raise UsageError(f"upstream {spec} already names its model; leave the option model out")
    options = coerce(given | stated, inspect.signature(cls).parameters, f"upstream {spec}")
    with Heartbeat(f"upstream {spec}") as alive:
        alive.step("its constructor")
        return cls(**options).eval()


def upstream_class(spec: str) -> Any:
    """The class behind a spec, nothing built."""
    found = upstreams.get(upstreams.split(spec)[0])
    if not inspect.isclass(found):  # a built one has no options
        raise UsageError(
            f"upstream {spec}: that is a {type(found).__name__} that is built already; name its "
            "class"
        )
    return found


def options_of(spec: str) -> set[str]:
    """The names of an upstream's options; a tag is a part of its name, and no option."""
    return set(inspect.signature(upstream_class(spec)).parameters) - {"tag"}


def knob_of(spec: str, settings: Mapping[str, str]) -> str | None:
    """The name of an upstream's knob. A wrapper's is the inner one's: it is built to be asked."""
    cls = upstream_class(spec)
    if "knob" not in getattr(cls, "passed_on", ()):
        return cls.knob
    own = options_of(spec)
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
                number = kind(value)
            except (ValueError, OverflowError, TypeError):
                raise UsageError(f"{what} is a number like {default!r}, not {value!r}") from None
            if not math.isfinite(number):
                raise UsageError(f"{what} is a finite number like {default!r}, not {value!r}")
            if kind is int and not -(2**63) <= number < 2**63:
                raise UsageError(f"{what} is a number of 64 bits, not {value!r}")
            return number
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
