"""Where the benchmark keeps what it makes for itself."""
import os
import tempfile
from pathlib import Path

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
