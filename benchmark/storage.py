"""Where the benchmark keeps what it makes, how a file gets there whole, and who is making what.

Several processes, on several machines, may share one folder. Every file is written by `atomic`:
beside its place, then renamed, so a reader never meets half of it. Work that one process should
do once is claimed with `locked`.
"""

import contextlib
import logging
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import MachineError
from .soundness import set_aside

CACHE = "EARLYEXIT_SUPERB_CACHE"  # the environment variable that moves it
STALE = 3600  # seconds without a change after which nobody is writing a temporary file any more
# names of files and folders that are being made
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part|\.probe\.[0-9a-f]{8}")
REPEAT = (
    "free some space or choose another folder, and repeat the command: what is finished is kept"
)
OF_A_KEY = re.compile(r"[0-9a-f]{16}\.lock")

log = logging.getLogger("earlyexit_superb")


def cache_dir() -> Path:
    """The folder of built-in corpora and recorded states, made on demand.

    $EARLYEXIT_SUPERB_CACHE, or else ~/.cache/earlyexit-superb.
    """
    chosen = os.environ.get(CACHE)
    try:
        path = Path(chosen or "~/.cache/earlyexit-superb").expanduser()
    except RuntimeError as error:  # neither $HOME nor an entry in the list of users
        raise MachineError(
            f"this user has no home folder for the cache; choose one: export {CACHE}=/some/folder"
        ) from error
    path = path.resolve() if chosen else path
    try:
        path.mkdir(parents=True, exist_ok=True)
        # os.access would let root write to a read-only disk
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise MachineError(
            f"the cache folder {path} cannot be written ({error.strerror or error}); "
            f"choose another: export {CACHE}=/some/folder"
        ) from error
    return path


# ---- files and folders that appear whole or not at all -------------------------------------------


@contextlib.contextmanager
def atomic(
    path: Path,
    fix: str = REPEAT,
    durable: bool = False,
    failures: tuple[type[Exception], ...] = (OSError,),
) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends.

    Where the block raises, `path` stays as it was and the temporary file is removed. A process
    that is killed leaves one behind, which `clear_stale` finds. Two writers never share one.

    Args:
        fix: what the user can do when the file cannot be written; the end of the sentence.
        durable: wait until the disk has the content. For a file whose presence says that something
            is finished: after a power failure it is whole, or not there.
        failures: exceptions that mean the file cannot be written (torch.save reports a full disk
            as RuntimeError, soundfile as LibsndfileError).

    Raises:
        MachineError: one of `failures`, as a sentence.
    """
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if durable:
            _to_disk(beside)
        os.replace(beside, path)
    except failures as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise MachineError(f"{path} cannot be written ({why}); {fix}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_text(path: Path, text: str, fix: str = REPEAT, durable: bool = True) -> None:
    """`text` as UTF-8 to `path`, line ends as they are. See `atomic`."""
    with atomic(path, fix, durable) as beside:
        beside.write_bytes(text.encode())


@contextlib.contextmanager
def whole(out: Path, sign: str) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends: a corpus is there whole or not.

    Args:
        sign: a file of it. Where `out` has one by then, another process was faster with the same
            thing, and that one stays.

    Raises:
        MachineError: the folder cannot be written.
    """
    folder = _beside(out)
    try:
        folder.mkdir(parents=True)
        clear_stale(out.parent, f".{out.name}.*.part")
    except OSError as error:
        raise MachineError(
            f"the folder {out.parent} cannot be written ({error.strerror}); choose another or mend "
            f"its permissions: ls -ld {out.parent}"
        ) from error
    try:
        yield folder
        try:
            os.rename(folder, out)
        except OSError:
            if not (out / sign).is_file():
                raise
    except OSError as error:
        raise MachineError(
            f"the corpus {out} cannot be written ({error}); look at the free space: "
            f"df -h {out.parent}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writable(root: Path, fix: str = REPEAT) -> None:
    """Fail now, not after an hour of training, and remove what killed processes left in `root`."""
    clear_stale(root)
    clear_stale(root, ".probe.*")
    clear_locks(root)
    probe = root / f".probe.{secrets.token_hex(4)}.part"
    write_text(probe, "x" * 4096, fix)
    probe.unlink()


def clear_stale(root: Path, pattern: str = "**/.*.part", age: float = STALE) -> None:
    """Remove what `atomic` and `whole` were writing in `root` when their process was killed.

    Args:
        age: seconds without a change after which nobody can be writing it any more.
    """
    for left in _listed(root, pattern):
        with contextlib.suppress(OSError):
            inside = left.rglob("*") if left.is_dir() else ()
            changed = max(p.stat().st_mtime for p in (left, *inside))
            if TEMPORARY.fullmatch(left.name) and time.time() - changed > age:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def clear_locks(root: Path) -> None:
    """Remove locks of heads and feature caches in `root` that a killed process left and nobody
    holds.
    """
    for path in _listed(root, "**/*.lock"):
        with contextlib.suppress(OSError, MachineError):
            ours = OF_A_KEY.fullmatch(path.name) and path.is_file() and not path.stat().st_size
            if ours and time.time() - path.stat().st_mtime > STALE:
                with locked(path, wait=False):
                    pass  # who lets go of it removes it


def _listed(root: Path, pattern: str) -> list[Path]:
    """What matches in `root`; a folder that cannot be listed is said where it is written."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found += root.glob(pattern)
    return found


def clear_abandoned(folder: Path, lock: Path) -> None:
    """Remove what earlier holders of `lock`, which the caller holds, were writing in `folder`."""
    clear_stale(folder, age=STALE if lock.parent in _without_locks else -math.inf)


def _beside(path: Path) -> Path:
    """A temporary name; hidden, so that no listing of audio, results or corpora takes it for one.

    Random, because process numbers repeat on machines that share a folder.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


# ---- one process at a time -----------------------------------------------------------------------

_without_locks: set[Path] = set()  # folders of which that was said


@contextlib.contextmanager
def locked(path: Path, what: str = "", wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path`; yields whether it is held, which it always is after waiting.

    The kernel lets go of it however its holder ends, kill -9 included, so what a holder left half
    done belongs to the next one. Whoever waited looks first whether the work is done by now. No
    lock file is left behind.

    A network file system keeps the promise between machines where its locks do: NFS from version 4
    on, NFS 3 with a lock daemon. Mounted with `nolock` or `local_lock`, each machine sees its own
    locks only; without a daemon there are none, which is said. Then work may be done twice, never
    wrongly, since files appear whole. A machine that is switched off while it holds a lock holds it
    until the server's lease ends (a minute or two).

    Args:
        what: named on stderr where there is a wait.
        wait: until it is free; else yield False at once where another process holds it.

    Raises: MachineError where the lock file cannot be made: the folder is read-only, its name is
        too long for the file system.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _acquired(path, wait=False)
    except OSError as error:
        raise MachineError(
            f"the folder {path.parent} cannot be written ({error.strerror or error}); choose "
            "another, or copy it to one that can be"
        ) from error
    if held is None and wait:
        log.info("another process is at work on %s: waiting for it", what or path.stem)
        held = _acquired(path, wait=True)
    if held is None:
        yield False
        return
    try:
        with held:
            try:
                yield True
            finally:
                # Still locked: whoever waits on this file sees that it is gone and opens another.
                with contextlib.suppress(OSError):
                    path.unlink()
    finally:
        if os.name == "nt":  # an open file cannot be removed there, nor one that another has open
            with contextlib.suppress(OSError):
                path.unlink()


def _acquired(path: Path, wait: bool) -> IO | None:
    """The open file whose lock is held until it is closed; None where another process has it."""
    # Not filelock.FileLock: on a file system without locks some versions of it take to marker
    # files, which outlive a killed holder, and others wait for ever.
    from filelock import lock_descriptor

    while True:
        file = _lock_file(path)
        try:
            if not lock_descriptor(file.fileno(), blocking=wait):
                file.close()
                return None
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:  # removed by its last holder between opening and locking
            pass
        except OSError as error:
            if path.parent not in _without_locks:
                _without_locks.add(path.parent)
                log.warning(
                    "%s has no file locks (%s): processes that share it may repeat each other's "
                    "work",
                    path.parent,
                    error.strerror,
                )
            return file
        file.close()


def _lock_file(path: Path) -> IO:
    """The lock file, open and made where it is missing."""
    # One look: between two, its holder may remove it and the next one make another, which would
    # then be set aside while that one holds it.
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            set_aside(path, "is no lock file")
    return open(path, "a")
