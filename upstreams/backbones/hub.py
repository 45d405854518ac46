"""A model of Hugging Face, by a folder or an id: what is on this machine first, then the hub.

Without a network the hub's own client waits and tries again for half a minute, once for every file
that a model may have; here the hub is asked once, before anything is downloaded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...benchmark.errors import BenchmarkError, MachineError, UsageError, first_line

ANSWER = 5.0  # seconds in which the hub must answer


def from_hub(source: str, who: str, read: Callable[[Path | str, dict[str, bool]], Any]) -> Any:
    """What `read(where, how)` returns.

    Args:
        source: a folder, or an id.
        who: needs it, as sentences begin.
        read: reads the model at `where` (the folder, or the id) with the library's own
            `from_pretrained(where, ..., **how)`, first with what is on this machine alone.

    Raises:
        UsageError: the folder is not whole, or the model brings code of its own.
        MachineError: it is not on this machine and cannot be downloaded.
        BenchmarkError: as `read` raises it.
    """
    folder = Path(source).expanduser()
    where = folder if folder.is_dir() else source
    for local in (True, False):
        try:
            if not local:
                _ask(source)
            return read(where, {"local_files_only": local, "trust_remote_code": False})
        except BenchmarkError:
            raise
        except Exception as error:  # no network, no such model, a damaged file: each in its own way
            if "trust_remote_code" in str(error):
                raise UsageError(
                    f"{who} brings code of its own, and no foreign code is run here"
                ) from error
            if folder.is_dir():
                raise UsageError(
                    f"{who} is not a whole Hugging Face folder ({first_line(error)})"
                ) from error
            if not local:
                raise MachineError(
                    f"{who} is not here and its download failed ({first_line(error)}); name a "
                    f"local folder instead, fetched where there is a network: hf download {source} "
                    "--local-dir DIR"
                ) from error
    raise AssertionError("the last try returns or raises")


def _ask(model: str) -> None:
    """Whatever the client raises where nobody answers in time; a refusal is an answer, too, and
    what is said of the files counts then."""
    import huggingface_hub  # comes with transformers
    from huggingface_hub.errors import HfHubHTTPError

    try:
        huggingface_hub.HfApi().model_info(model, timeout=ANSWER)
    except HfHubHTTPError:
        return
