"""Files that were written before: whether they still are what was written, and where those go that
are not.

A digest is kept beside or inside what it is of and compared before that is read. BLAKE2b, because
it is in Python and hashes a few hundred MB/s on one core; no secret is in it: it finds damage, not
forgery.

Only what could be read can be called damaged. Where the disk, the network, the permissions or the
memory fail, the file may be whole, and stays where it is.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import MachineError
from .foreign import lacks_memory

BLOCK = 2**20  # bytes that are read at a time
SEAL = "digest"  # the entry of a JSON object that is of all its others
NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """For a block that reads `path`: a machine that fails is told from a file that is damaged or
    not there, whose exceptions pass.

    Raises: MachineError: `path` cannot be read now.
    """
    try:
        yield
    except NOT_THERE:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            why = error.strerror or str(error)
        elif lacks_memory(error):
            why = "not enough memory: free some, or raise the limit, ulimit -v"
        else:
            raise
        raise MachineError(
            f"{path} cannot be read ({why}); it may be whole and is left as it is: mend the cause "
            f"(ls -l {path}) and repeat the command, or remove it"
        ) from error


def is_file(path: Path) -> bool:
    """Whether a regular file, or a link to one, is there. Raises: MachineError: see `reading`."""
    with reading(path):
        return path.is_file()


def file_digest(path: Path) -> str:
    """Of all bytes of a file, 32 hexadecimal digits; "" where no regular file is there.

    A pipe is not opened: it would be waited for.

    Raises: MachineError: it cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    if not is_file(path):
        return ""
    try:
        with reading(path), open(path, "rb", buffering=0) as file:
            while block := file.read(BLOCK):
                found.update(block)
    except NOT_THERE:  # removed meanwhile
        return ""
    return found.hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """A JSON object as text, its digest the last entry."""
    plain = json.loads(json.dumps(content))  # as it will be read: keys are strings
    return json.dumps({**plain, SEAL: _of_json(plain)}, indent=1) + "\n"


def unsealed(path: Path) -> dict[str, Any] | None:
    """What `sealed` wrote to `path`, without the digest; None where it is missing or damaged.

    Raises: MachineError: it cannot be read.
    """
    content = read_object(path)
    if content is None or content.pop(SEAL, None) != _of_json(content):
        return None
    return content


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, whoever wrote it; None where there is none.

    Raises: MachineError: it cannot be read.
    """
    if not is_file(path):
        return None
    try:
        with reading(path):
            content = json.loads(path.read_bytes())
    except (*NOT_THERE, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads(object_pairs_hook=...): ValueError where a name is given twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def is_whole_zip(path: Path) -> bool:
    """Whether an archive (of np.savez or torch.save) can be read and every member has the CRC-32
    that was written with it. torch.load does not look at it.

    Raises: MachineError: it cannot be read.
    """
    if not is_file(path):
        return False
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except MachineError as error:
        # what is no archive may send the reader to a place before its beginning
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (None, errno.EINVAL):
            return False
        raise
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
