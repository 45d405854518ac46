"""The verb `cache`: which recorded passes are kept on this machine, and taking them away."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError, did_you_mean
from ..storage import cache_dir, locked
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
        "--check", action="store_true", help="read everything and hold it against its hashes"
    )
    about = "remove recorded passes; whatever needs them records them again"
    rm = kind_of(verbs, "rm", about, "run_benchmark.py cache rm --unfinished")
    rm.add_argument("key", nargs="*", help="as ls prints them")
    rm.add_argument("--unfinished", action="store_true", help="what interrupted recordings left")
    rm.add_argument("--all", action="store_true")
    args = parser.parse_args(argv)
    return _ls(args.check) if args.verb == "ls" else _rm(args.key, args.unfinished, args.all)


def _ls(check: bool) -> int:
    found, damaged = _traces(), False
    for folder in sorted(found, key=lambda f: -_bytes(f)):
        manifest, state = found[folder], _state(folder, found[folder])
        if check and state == "whole":
            state = _checked(folder, manifest)
            damaged |= state != "sound"
        print(_line(folder, manifest, state))
    root, free = cache_dir() / "traces", shutil.disk_usage(cache_dir()).free
    kept = sum(map(_bytes, found)) / 2**30
    print(f"{len(found)} traces, {kept:.2f} GiB in {root}; {free / 2**30:.1f} GiB free")
    return int(damaged)


def _line(folder: Path, manifest: dict, state: str) -> str:
    about, minutes = manifest.get("about", {}), manifest.get("seconds", 0) / 60
    return (
        f"{folder.name}  {_bytes(folder) / 2**20:9.1f} MiB  {state:10}  "
        f"{manifest.get('what', '?'):12} {about.get('upstream', '?')} {about.get('revision', '')}  "
        f"{minutes:.1f} min, depths 0-{about.get('deepest', '?')}"
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
        if everything or name in keys or (unfinished and _state(folder, found[folder]) != "whole"):
            with locked(folder.with_suffix(".lock"), wait=False) as free:
                if not free:
                    print(f"kept {name}: another process is recording it")
                    continue
                freed = _bytes(folder)
                shutil.rmtree(folder)
            print(f"removed {name}, {freed / 2**20:.1f} MiB")
    return 0


def _traces() -> dict[Path, dict]:
    """Folder -> its manifest, empty where there is none."""
    folders = sorted(p for p in (cache_dir() / "traces").glob("*") if p.is_dir())
    return {
        p: json.loads((p / "manifest.json").read_text()) if (p / "manifest.json").exists() else {}
        for p in folders
    }


def _state(folder: Path, manifest: dict) -> str:
    if not manifest.get("shards"):
        return "unfinished"
    lost = any(
        not (folder / s["file"]).exists() or (folder / s["file"]).stat().st_size != s["bytes"]
        for s in manifest["shards"]
        if s["bytes"]
    )
    return "damaged" if lost else "whole"


def _checked(folder: Path, manifest: dict) -> str:
    for shard in manifest["shards"] if manifest["kept"] else ():
        digest = hashlib.sha256()
        with open(folder / shard["file"], "rb") as file:
            file.seek(shard["at"])
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != shard["sha256"]:
            return "damaged"
    return "sound"


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*"))
