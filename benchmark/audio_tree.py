"""Folders of audio: which files are there, by any name and behind any link.

Links to folders are followed, each folder once: of two ways to one recording the one without a
link is taken, else the first by name. What lies there and cannot be read is counted by `others`.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import MachineError, UsageError

SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")
# audio that libsndfile does not read, or not under that name
OTHERS = (
    *(".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".ape", ".wv", ".shn", ".sph"),
    *(".aif", ".aiff", ".au", ".caf", ".mka", ".raw", ".pcm", ".tta", ".ra"),
)


def audio_files(folder: Path) -> list[Path]:
    """Every audio file below a folder, in the order of its path.

    Raises:
        UsageError: there is none, or one has a name that is no text.
        MachineError: a folder cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; check the path: ls {folder.parent}")
    found = sorted(p for p in walk(folder) if p.suffix.lower() in SUFFIXES)
    if not found:
        raise UsageError(
            f"the folder {folder} holds no audio ({', '.join(SUFFIXES)}){_instead(folder)}; give "
            "the folder that does"
        )
    return found


def audio_in(folder: Path) -> list[Path]:
    """The audio files of a folder, not of those below it, by name; none where there is no
    folder.
    """
    names = listed(folder) if folder.is_dir() else []
    files = (folder / name for name in names if name[0] != ".")
    return sorted(_named(p) for p in files if p.suffix.lower() in SUFFIXES and not p.is_dir())


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, through links, none of them twice: a link to a
    file that is found without it is left out.
    """
    later, seen, links = [folder], set(), []
    linked: list[Path] = []
    while later or linked:
        here = later.pop() if later else linked.pop(0)  # what links lead to comes last
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        for name in listed(here):
            path = here / name
            if name[0] == ".":
                continue
            if path.is_dir():
                (linked if path.is_symlink() else later).append(path)
            elif path.is_symlink():
                links.append(path)
            else:
                yield _named(path)
    taken: set[str] = set()
    for path in links:
        real = os.path.realpath(path)
        # what has no suffix there (a cache of blobs) is a recording under the link's name alone
        found = os.path.dirname(real) in seen and Path(real).suffix.lower() in SUFFIXES
        if real not in taken and not (found and os.path.exists(real)):
            taken.add(real)
            yield _named(path)


def others(files: Iterable[Path]) -> str:
    """What among them is audio in a form that is not read: "12 .m4a, 3 .sph"; "" for none."""
    counts = Counter(s for p in files if (s := p.suffix.lower()) in OTHERS)
    return ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items()))


def alike(path: Path) -> Path:
    """The path as the disk spells it, where a list writes the same letters in another Unicode
    form (NFC, NFD); the path itself where nothing like it is there.
    """
    if is_there(path) or str(path).isascii():
        return path
    spelled = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((p for p in spelled if is_there(p)), path)


def same(name: str) -> str:
    """A name for comparison, whatever its Unicode form."""
    return unicodedata.normalize("NFC", name)


def is_there(path: Path) -> bool:
    """Whether there is such a file; False, too, where there can be none of that name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or a folder that may not be entered
        return False


def name_of(path: Path) -> str:
    """A folder's own name, also where it was given as "." or "/"."""
    return path.resolve().name or "root"


def _instead(folder: Path) -> str:
    """A clause about audio in other forms."""
    said = others(walk(folder))
    return f" but {said}, which are to be converted first (ffmpeg, sox)" if said else ""


def listed(folder: Path) -> list[str]:
    """The names in a folder, sorted. MachineError where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise MachineError(
            f"the folder {folder} cannot be listed ({error.strerror}); mend its permissions: "
            f"ls -ld {folder}"
        ) from error


def _named(path: Path) -> Path:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(
            f"the name of {shown} is not UTF-8, so no list can hold it; rename the files: "
            f"convmv -f latin1 -t utf-8 -r --notest {path.parent}"
        ) from None
    return path
