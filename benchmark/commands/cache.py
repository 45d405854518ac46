"""The verb `cache`: which recorded passes are kept on this machine, and taking them away."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MachineError, UsageError, did_you_mean
from ..soundness import read_object, remove
from ..storage import cache_dir, clear_locks, locked
from .parser import Parser, kind_of

LASTING = ("whole", "unreadable")  # what --unfinished does not remove
# a feature cache, and what was set aside in its place or in that of its lock
OURS = re.compile(r"[0-9a-f]{16}(\.damaged|\.lock\.damaged)?")


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py cache",
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
    found, any_damaged = _traces(), False
    for folder in sorted(found, key=lambda f: -_bytes(f)):
        state = found[folder]
        if check and state == "whole":
            state = _checked(folder)
        any_damaged |= state in ("damaged", "unreadable")
        print(_line(folder, state))
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


def _checked(folder: Path) -> str:
    """The state of one that is whole, once everything is read: sound, damaged or unreadable."""
    from ..engine.cache_repair import damaged

    try:
        return "damaged" if damaged(folder, _said(folder)) else "sound"
    except MachineError as error:
        print(f"notice: {error}", file=sys.stderr)
        return "unreadable"


def _said(folder: Path) -> Mapping[str, Any]:
    """What a manifest says, trusted or not; nothing where it cannot be read."""
    try:
        return read_object(folder / "manifest.json") or {}
    except MachineError:
        return {}


def _line(folder: Path, state: str) -> str:
    manifest = _said(folder)
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
        if everything or name in keys or (unfinished and found[folder] not in LASTING):
            lock = folder.with_name(f"{name.partition('.')[0]}.lock")
            with locked(lock, wait=False) as free:
                if not free:
                    print(f"kept {name}: another process is recording it")
                    continue
                freed, target = _bytes(folder), folder.is_symlink() and os.readlink(folder)
                remove(folder)
            linked = f" (a link; what it led to stays: {target})" if target else ""
            print(f"removed {name}, {freed / 2**20:.1f} MiB{linked}")
    clear_locks(cache_dir() / "traces")
    return 0


def _traces() -> dict[Path, str]:
    """What is in the place of a feature cache -> its state, whatever it is. Other people's files
    are none of ours.
    """
    there = sorted((cache_dir() / "traces").glob("*"))
    return {path: _state(path) for path in there if OURS.fullmatch(path.name)}


def _state(folder: Path) -> str:
    """whole (the sizes are right; --check reads everything), unfinished, older, damaged, set aside,
    or unreadable: the disk or the permissions fail, and it may be whole.
    """
    if folder.suffix == ".damaged":
        return "set aside"
    try:
        return _readable_state(folder)
    except (MachineError, OSError) as error:
        print(f"notice: {error}", file=sys.stderr)
        return "unreadable"


def _readable_state(folder: Path) -> str:
    from ..engine.cache_key import VERSION
    from ..engine.cache_repair import finished, read_manifest

    manifest = read_manifest(folder)
    if manifest is None:
        about = _said(folder).get("about")
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
