"""Who speaks in a file of anybody's folder of speech.

By a table in or above the folder, else by the names that the usual corpora give to files and
folders, else by the one level of folders that differs. A tree that could mean two things is
refused: a person in two splits, or mixed with himself, spoils a result without a trace.

    table            MANIFEST.csv or manifest.csv with speakers; Common Voice's *.tsv beside clips/
    LibriSpeech      <speaker>/<chapter>/<speaker>-<chapter>-<number>, and any tree whose files
                     begin with their outermost folder: LibriTTS, MLS, VCTK, ESD, AISHELL-3
    VoxCeleb1, 2     id10001 anywhere in the path
    Speech Commands  <hash>_nohash_<number>, whatever the word of the folder
    flat folders     names of FSDD, LibriSpeech, LibriTTS, VCTK, VoiceBank, THCHS-30, CREMA-D
    one level        TIMIT's DR1/FCJF0, AISHELL's S0002, speechocean762's SPEAKER0001, ...; folders
                     of sets, formats and genders do not count
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from ...benchmark.audio_tree import name_of, same
from ...benchmark.errors import UsageError
from .tables import columns, rows

MANIFESTS = ("MANIFEST.csv", "manifest.csv")
# names of columns, the likeliest first; the manifest's own reader has more
PATHS = ("path", "audio_filepath", "wav", "file", "filename", "file_path")
SPEAKERS = ("speaker", "speaker_id", "client_id", "spk_id")

# folders that say something else than who speaks
_SET = (
    r"(train|training|dev|devel|development|val|valid|validation|eval|test|other|validated)"
    r"([-_.\s].*)?|.*[-_](train|trainset|dev|devset|test|testset|wavs?)"
)
_FORMAT = (
    r"wavs?|wav\d.*|waves?|wav16k|min|max|audio|audios|clips?|flac|mp3|opus|ogg|sph|sounds?|data|"
    r"recordings?|speech|speakers?|utterances?|segments?|(clean|noisy)_.*_wav(_16k)?|\d+k(hz)?"
)
_KIND = r"males?|females?|men|women|man|woman|boys?|girls?|adults?|child(ren)?|dr[1-8]|(cd|part)\d+"
_NO_NAME = re.compile(f"({_SET})|({_FORMAT})|({_KIND})", re.IGNORECASE)

_VOXCELEB = re.compile(r"id\d{5}")
# by the file's name, whatever its folder
_NAMES = tuple(
    map(
        re.compile,
        (
            r"(\d+)-\d+-\d{4}",  # LibriSpeech
            r"(\d+)_\d+_\d{6}(?:_\d{6})?",  # LibriTTS, MLS
            r"([0-9a-f]{8})_nohash_\d+",  # Speech Commands
            r"BAC\d{3}(S\d{4})W\d{4}",  # AISHELL
            r"(SSB\d{4})\d{4}",  # AISHELL-3
            r"(\d{4})_[A-Z]{3}_[A-Z]{3}_[A-Z]{2}",  # CREMA-D
        ),
    )
)
# by the file's name where no folder tells
_FLAT = tuple(
    map(
        re.compile,
        (
            r"\d_([^\W\d_][\w.-]*)_\d+",  # FSDD
            r"([ps]\d{1,3})_\d{3}(?:_mic\d)?",  # VCTK, VoiceBank
            r"([A-D]\d{1,2})_\d{1,3}",  # THCHS-30
        ),
    )
)


def speakers(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    """File -> who speaks in it.

    Args:
        files: below `folder`.

    Raises:
        UsageError: the tree could mean two things.
    """
    if not files:
        return {}
    stated = column(folder, files, SPEAKERS)
    if len(stated) == len(files):
        return stated
    if stated:
        left = next(path for path in files if path not in stated)
        raise UsageError(
            f"the table of {folder} names the speaker of {len(stated)} files and not of "
            f"{len(files) - len(stated)} others, such as {left}; add them to it"
        )
    paths = {path: path.relative_to(folder) for path in files}
    inside = list(paths.values())
    found = _known(inside) or _begun(inside) or _each_known(inside) or _by_level(folder, inside)
    return {path: found[relative] for path, relative in paths.items()}


def listed_speaker(name: str) -> str:
    """Of `speaker/file` in a list, which may name folders of sets before the speaker."""
    folders = PurePath(name).parent.parts
    named = (part for part in folders if not _NO_NAME.fullmatch(part))
    return _voxceleb(folders) or next(named, folders[0])


def column(folder: Path, files: Sequence[Path], names: Sequence[str]) -> dict[Path, str]:
    """File -> what a table in `folder`, or the nearest MANIFEST.csv above it, has in the first
    of the columns `names`, for the files that it lists. Its paths are relative to its folder, to
    the one above, or to clips/.
    """
    home = folder.resolve()
    for place in (home, *home.parents):
        tables = [place / name for name in MANIFESTS if (place / name).is_file()][:1]
        if place == home:
            tables += sorted(p for p in place.glob("*.tsv") if _has(p, names))
        told: dict[str, str] = {}
        for table in tables:
            told |= _told(table, names)
        if tables:
            found = {path: _of(path, folder, home, told) for path in files}
            return {path: value for path, value in found.items() if value}
    return {}


def _has(table: Path, names: Sequence[str]) -> bool:
    has = set(columns(table))
    return bool(has & set(PATHS) and has & set(names))


def _told(table: Path, names: Sequence[str]) -> dict[str, str]:
    """Absolute paths, as a table may mean them -> the value of the first column there is."""
    if not _has(table, names):
        return {}
    told = {}
    for line, row in rows(table):
        path = next((row[name] for name in PATHS if row.get(name)), "")
        value = next((row[name] for name in names if row.get(name)), "")
        if path and value:
            for base in (table.parent, table.parent.parent, table.parent / "clips"):
                if told.setdefault(same(str(base / path)), value.strip()) != value.strip():
                    raise UsageError(
                        f"{table} line {line} says {value.strip()} of {path}, and another line "
                        "something else; mend the table"
                    )
    return told


def _of(path: Path, folder: Path, home: Path, told: Mapping[str, str]) -> str:
    """Of a file that may be reached through a link."""
    here = told.get(same(str(home / path.relative_to(folder))), "")
    return here or (told.get(same(str(path.resolve())), "") if told else "")


# ---- by names ------------------------------------------------------------------------------------


def _known(paths: Sequence[Path]) -> dict[Path, str] | None:
    """By the names of a usual corpus, where every path has them."""
    ids = {p: _voxceleb(p.parent.parts) for p in paths}
    if all(ids.values()):
        return ids
    for pattern in _NAMES:
        if named := _by_name(paths, pattern):
            return named
    return None


def _begun(paths: Sequence[Path]) -> dict[Path, str] | None:
    """By the outermost folder, where every file's name begins with it."""
    levels = {p: _levels(p) for p in paths}
    for i in range(min(map(len, levels.values()))):
        if all(_begins(p.stem, own[i]) for p, own in levels.items()):
            return {p: own[i] for p, own in levels.items()}
        if len({own[i] for own in levels.values()}) > 1:  # further in it could be a book
            return None
    return None


def _each_known(paths: Sequence[Path]) -> dict[Path, str] | None:
    """Several corpora side by side, each with names of its own kind."""
    found: dict[Path, str] = {}
    for top in sorted({p.parts[0] for p in paths}):
        mine = [p for p in paths if p.parts[0] == top]
        part = _known(mine) or _named_twice(mine)
        if part is None:
            return None
        found |= part
    return found


def _named_twice(paths: Sequence[Path]) -> dict[Path, str] | None:
    """By names that tell only where a folder has them, too: VCTK's p225/p225_001."""
    for pattern in _FLAT:
        named = _by_name(paths, pattern)
        if named and all(who in p.parent.parts for p, who in named.items()):
            return named
    return None


def _by_level(folder: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """By the one level of folders that differs; the folder itself where none does."""
    levels = {p: _levels(p) for p in paths}
    depth = max(map(len, levels.values()))
    names = [{ls[i] for ls in levels.values() if len(ls) > i} for i in range(depth)]
    differ = [i for i in range(depth) if len(names[i]) > 1]
    above = next((p for p, ls in levels.items() if len(ls) < depth), None)
    if not differ:
        for pattern in _FLAT:
            if named := _by_name(paths, pattern):
                return named
        if above:
            raise _untold(folder, above, "no folder names him")
        one = next(iter(names[-1])) if depth else name_of(folder)
        return dict.fromkeys(paths, one)
    at, *more = differ
    shallow = next((p for p, ls in levels.items() if len(ls) <= at), None)
    if more or shallow:
        example = shallow or next(p for p, ls in levels.items() if len(ls) > more[-1])
        could = " or ".join(levels[example][i] for i in differ if i < len(levels[example]))
        why = f"the speaker could be {could}" if more and not shallow else "no folder names him"
        raise _untold(folder, example, why)
    return {p: ls[at] for p, ls in levels.items()}


def _untold(folder: Path, example: Path, why: str) -> UsageError:
    return UsageError(
        f"{folder} does not tell who speaks: in {example} {why}; list it in "
        f"{folder / MANIFESTS[0]} with the columns path and speaker"
    )


def _levels(path: Path) -> list[str]:
    """The folders of a path that may be names."""
    return [part for part in path.parent.parts if not _NO_NAME.fullmatch(part)]


def _voxceleb(folders: Sequence[str]) -> str:
    return next((part for part in folders if _VOXCELEB.fullmatch(part)), "")


def _by_name(paths: Sequence[Path], pattern: re.Pattern) -> dict[Path, str] | None:
    found = {p: pattern.fullmatch(p.stem) for p in paths}
    return {p: m[1] for p, m in found.items() if m} if all(found.values()) else None


def _begins(stem: str, name: str) -> bool:
    """Whether a file's name begins with a folder's: p225_001, 19-198-0001."""
    return stem.startswith(name) and not stem[len(name) : len(name) + 1].isalnum()
