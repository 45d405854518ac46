"""The verb `cache`: which recorded passes are kept on this machine, and taking them away."""

import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError, did_you_mean
from ..soundness import read_object, remove
from ..storage import cache_dir, clear_locks, locked
from .parser import Parser, kind_of


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py cache",
        allow_abbrev=False,
        description="List or remove the recorded passes kept on this machine.",
        example="run_benchmark.py cache ls --check",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="ls|rm", parser_class=Parser)
    ls = kind_of(verbs, "ls", "what is kept, largest first", "run_benchmark.py cache ls")
    ls.add_argument(
        "--check", action="store_true", help="read everything and compare it with its digests"
    )
    about = "remove recorded passes; whatever needs them records them again"
    rm = kind_of(verbs, "rm", about, "run_benchmark.py cache rm --unfinished")
    rm.add_argument("key", nargs="*", help="as ls prints them")
    rm.add_argument(
        "--unfinished",
        action="store_true",
        help="what interrupted recordings and older versions left, and what is damaged",
    )
    rm.add_argument("--all", action="store_true")
    args = parser.parse_args(argv)
    return _ls(args.check) if args.verb == "ls" else _rm(args.key, args.unfinished, args.all)


def _ls(check: bool) -> int:
    from ..engine.cache_repair import damaged

    found, any_damaged = _traces(), False
    for folder in sorted(found, key=lambda f: -_bytes(f)):
        manifest = read_object(folder / "manifest.json") or {}
        state = found[folder]
        if check and state == "whole":
            state = "damaged" if damaged(folder, manifest) else "sound"
        any_damaged |= state == "damaged"
        print(_line(folder, manifest, state))
    root, free = cache_dir() / "traces", shutil.disk_usage(cache_dir()).free
    kept = sum(map(_bytes, found)) / 2**30
    print(f"{len(found)} traces, {kept:.2f} GiB in {root}; {free / 2**30:.1f} GiB free")
    if "older" in found.values():
        print(
            "notice: this version does not read those of an older one; remove them: "
            "run_benchmark.py cache rm --unfinished",
            file=sys.stderr,
        )
    return int(check and any_damaged)


def _line(folder: Path, manifest: Mapping[str, Any], state: str) -> str:
    about, spoken = manifest.get("about"), manifest.get("seconds")
    about = about if isinstance(about, dict) else {}
    minutes = f"{spoken / 60:.1f}" if isinstance(spoken, (int, float)) else "?"
    return (
        f"{folder.name}  {_bytes(folder) / 2**20:9.1f} MiB  {state:10}  "
        f"{manifest.get('what', '?')!s:12} {about.get('upstream', '?')} "
        f"{about.get('revision', '')}  {minutes} min, depths 0-{about.get('deepest', '?')}"
        f", {about.get('keep', '?')}"
    )


def _rm(keys: Sequence[str], unfinished: bool, everything: bool) -> int:
    found = _traces()
    names = {folder.name: folder for folder in found}
    if not (keys or unfinished or everything):
        raise UsageError(
            "cache rm needs keys (run_benchmark.py cache ls prints them), --unfinished or --all"
        )
    for key in keys:
        if key not in names:
            raise UsageError(f"there is no trace {key!r}: {did_you_mean(key, names)}")
    for name, folder in names.items():
        if everything or name in keys or (unfinished and found[folder] != "whole"):
            with locked(folder.with_suffix(".lock"), wait=False) as free:
                if not free:
                    print(f"kept {name}: another process is recording it")
                    continue
                freed = _bytes(folder)
                remove(folder)
            print(f"removed {name}, {freed / 2**20:.1f} MiB")
    clear_locks(cache_dir() / "traces")
    return 0


def _traces() -> dict[Path, str]:
    """What is in the place of a feature cache -> its state, whatever it is."""
    there = sorted((cache_dir() / "traces").glob("*"))
    return {path: _state(path) for path in there if path.suffix not in (".lock", ".damaged")}


def _state(folder: Path) -> str:
    """whole (the sizes are right; --check reads everything), unfinished, older or damaged."""
    from ..engine.cache_key import VERSION
    from ..engine.cache_repair import finished, read_manifest

    manifest = read_manifest(folder)
    if manifest is None:
        said = read_object(folder / "manifest.json")
        about = said.get("about") if said else None
        known = about.get("format") if isinstance(about, dict) else None
        if isinstance(known, int) and known < VERSION:
            return "older"
        # nothing is written before the manifest
        return "damaged" if _bytes(folder) else "unfinished"
    if manifest["shards"] is None:
        return "unfinished"
    sizes = [(folder / s["file"], s["bytes"]) for s in manifest["shards"] if s["bytes"]]
    whole = finished(folder) and all(p.is_file() and p.stat().st_size == n for p, n in sizes)
    return "whole" if whole else "damaged"


def _bytes(path: Path) -> int:
    total = 0
    for part in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):  # removed meanwhile
            total += part.lstat().st_size if not part.is_dir() else 0
    return total
