"""Where the benchmark keeps what it makes for itself, and who is making what: several processes may share one folder."""
import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import MachineError

CACHE = "EARLYEXIT_SUPERB_CACHE"  # the environment variable that moves it


def cache_dir() -> Path:
    """The folder of built-in corpora: $EARLYEXIT_SUPERB_CACHE or else ~/.cache/earlyexit-superb. Made on demand."""
    chosen = os.environ.get(CACHE)
    path = Path(chosen).expanduser().resolve() if chosen else Path.home() / ".cache" / "earlyexit-superb"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # asking os.access would believe root on a read-only disk
            pass
    except OSError as error:
        raise MachineError(f"the cache folder {path} cannot be written ({error.strerror or error}); "
                           f"choose another: export {CACHE}=/some/folder") from error
    return path


@contextlib.contextmanager
def whole(out: Path, sign: str) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends and is gone where it does not: a corpus is there whole or not at all.

    Args:
        sign: a file of it. Where `out` has one by then, another process was faster with the same thing, and that one stays.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise MachineError(f"the folder {out.parent} cannot be written ({error.strerror}); choose another or mend its "
                           f"permissions: ls -ld {out.parent}") from error
    try:
        yield folder
        folder.chmod(0o755)     # mkdtemp makes it private
        try:
            os.rename(folder, out)
        except OSError:
            if not (out / sign).is_file():
                raise
    except OSError as error:
        raise MachineError(f"the corpus {out} cannot be written ({error}); look at the free space: df -h {out.parent}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, what: str = "", wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path`; yields whether it is held, which it always is after waiting.

    The kernel lets go of it however its holder ends, kill -9 included, so what a holder left half done belongs to the
    next one. `what` is named on stderr where there is a wait. No lock file is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = _acquired(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if held is None and wait:
        logging.getLogger("earlyexit_superb").info("another process is at work on %s: waiting for it", what or path.stem)
        held = _acquired(path, fcntl.LOCK_EX)
    if held is None:
        yield False
        return
    with held:
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)     # still locked: whoever waits on this very file sees that it is gone, and opens another


def _acquired(path: Path, mode: int) -> IO | None:
    while True:
        file = open(path, "a")  # noqa: SIM115  the caller closes it: that is how the lock ends
        try:
            fcntl.flock(file, mode)
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:            # unlinked between the two looks
            pass
        except OSError as error:             # some cluster file systems have no locks: work may be done twice there, never wrongly
            logging.getLogger("earlyexit_superb").warning("%s cannot be locked (%s): processes that share it may repeat each other's work",
                                                          path.parent, error.strerror)
            return file
        file.close()
