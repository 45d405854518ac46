"""Files that were written before: whether they still are what was written, and where those go that
are not.

A digest is kept beside or inside what it is of and compared before that is read. BLAKE2b, because
it hashes more than 500 MB/s on any CPU; no secret is in it: it finds damage, not forgery.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import MachineError

BLOCK = 2**20  # bytes that are read at a time
SEAL = "digest"  # the entry of a JSON object that is of all its others


def file_digest(path: Path) -> str:
    """Of all bytes of a file, 32 hexadecimal digits; "" where no regular file can be read.

    A pipe is not opened: it would be waited for.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        if not path.is_file():
            return ""
        with open(path, "rb", buffering=0) as file:
            while block := file.read(BLOCK):
                found.update(block)
    except OSError:
        return ""
    return found.hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """A JSON object as text, its digest the last entry."""
    plain = json.loads(json.dumps(content))  # as it will be read: keys are strings
    return json.dumps({**plain, SEAL: _of_json(plain)}, indent=1) + "\n"


def unsealed(path: Path) -> dict[str, Any] | None:
    """What `sealed` wrote to `path`, without the digest; None where it is missing or damaged."""
    content = read_object(path)
    if content is None or content.pop(SEAL, None) != _of_json(content):
        return None
    return content


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, whoever wrote it; None where there is none."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def is_whole_zip(path: Path) -> bool:
    """Whether an archive (of np.savez or torch.save) can be read and every member has the CRC-32
    that was written with it. torch.load does not look at it.
    """
    try:
        if not path.is_file():
            return False
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile raises half a dozen kinds on what is no archive
        return False


def set_aside(path: Path, why: str) -> None:
    """Rename what is damaged to <name>.damaged, in the place of an earlier one, and say so.

    Raises: MachineError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged")
    try:
        remove(aside)
        os.replace(path, aside)
    except FileNotFoundError:  # another process has set it aside
        return
    except OSError as error:
        raise MachineError(
            f"{path} {why} and cannot be renamed ({error.strerror or error}); mend the permissions "
            f"of its folder: ls -ld {path.parent}"
        ) from error
    print(f"notice: {path} {why}; set aside as {aside.name} and made again", file=sys.stderr)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing where nothing is.

    Raises: MachineError: it cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    except OSError as error:
        raise MachineError(
            f"{path} cannot be removed ({error.strerror or error}); mend the permissions: "
            f"ls -ld {path.parent} {path}"
        ) from error


def _of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
