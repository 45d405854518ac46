"""Corpora as they lie on disk, recognised by their folders and read into one list of utterances with the splits of a task.

    manifest         manifest.csv in the folder, or the list itself (what `data prepare` writes)
    VoiceBank-DEMAND {clean,noisy}_{trainset_28spk,testset}_wav[_16k]/*.wav                         se (see _voicebank.py)
    Libri2Mix        [wav16k/min/]{train-100,dev,test}/{mix_clean,s1,s2}/*.wav                      ss
    LibriSpeech      {train,dev,test}-*/<speaker>/<chapter>/*.flac and .trans.txt; splits.csv       asr, sid
    FSDD             recordings/<digit>_<speaker>_<number>.wav                                      asr, sid
    VoxCeleb1        [{dev,test}/][wav/]<speaker>/... and veri_test_class.txt or iden_split.txt     sid
    speakers         any tree with a folder a speaker and iden_split.txt                            sid, asr with transcripts

A line of the last two's split file is `1 speaker/file` (1 train, 2 dev, 3 test). Sources: LibriSpeech's README; Libri-Light's
librispeech_finetuning (README of facebookresearch/libri-light); JorisCos/LibriMix; VoxCeleb1's identification list as s3prl
reads it (s3prl/downstream/voxceleb1/dataset.py); FSDD's README for its split by number.
"""
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..benchmark.audio import SUFFIXES
from ..benchmark.errors import UsageError
from . import _check, _manifest
from ._manifest import NAME, SPLITS, Entry, listed, manifest_of, of_file, progress

FINETUNING = "librispeech_finetuning"       # Libri-Light's 10 h: what MiniSUPERB trains ASR on
LISTS = ("veri_test_class.txt", "iden_split.txt")
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
NOTICES = "README.txt"                      # of a prepared corpus; its lines "notice: ..." go into the rows
TRANSCRIBED = "MANIFEST.csv"                # a table beside a tree, from which transcripts are taken


@dataclass
class Found:
    """A recognised corpus. `problems` is what makes it unusable, `notices` what a reader of its rows should know."""
    layout: str
    root: Path
    tasks: tuple[str, ...]                  # that it can serve
    entries: list[Entry] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)     # split -> where it would come from, when it is missing

    def wrong(self, task: str) -> list[str]:
        """Everything that keeps it from serving `task`, as far as headers and labels tell."""
        return self.problems + _check.problems(self.entries, task, self.hints)


def entries(data: Path, task: str, train: str = "") -> tuple[list[Entry], list[str]]:
    """The utterances of `data` for a task ("asr", "sid", "se", "ss"), and notices for its rows. What comes back has passed
    `_check.problems`: nothing is missing, every split has something, labels fit the task.

    Args:
        train: which training set, where a layout has several ("librispeech_finetuning" for MiniSUPERB's ASR).
    Raises: UsageError when no layout fits, or with everything that is wrong.
    """
    found = scan(data, task, train)
    if wrong := found.wrong(task):
        raise UsageError(f"{found.root} ({found.layout}) cannot serve {task}: {listed(wrong)}; mend it, and look at everything that is "
                         f"wrong with: run_benchmark.py data verify {data} --task {task}")
    return found.entries, found.notices


def scan(data: Path, task: str, train: str = "") -> Found:
    """The same, with the problems listed instead of raised. UsageError only when no layout fits."""
    data = Path(data)
    if not data.exists():
        raise UsageError(f"there is no {data}; check the path: ls {data.parent}")
    root, name = recognise(data) or (None, "")
    if root is None:
        raise UsageError(f"{data} is in none of the layouts of {task} (LibriSpeech, VoxCeleb1 or a folder a speaker with {LISTS[1]}, "
                         f"VoiceBank-DEMAND, Libri2Mix, FSDD, {NAME}); list it in a CSV with the columns path, split, speaker, text and "
                         "give that list")
    tasks, read = READERS[name]
    if task not in tasks:
        raise UsageError(f"{root} is laid out as {name}, which serves {' and '.join(tasks)}, not {task}; give a corpus for {task}, "
                         f"or a list of its own: run_benchmark.py data prepare --help")
    found = Found(name, root, tasks)
    read(found, task, train)
    found.notices += _manifest.notices(found.entries)
    if train == FINETUNING and not any(FINETUNING in e.path.parts for e in found.entries):
        found.notices.append(f"trained on this corpus' own training split, not on {FINETUNING}")
    return found


def recognise(data: Path) -> tuple[Path, str] | None:
    """The folder itself, or the only one of its children that is laid out like something; and as what."""
    def here(path: Path) -> str:
        return next((name for name, is_it in SIGNS.items() if is_it(path)), "")
    if data.is_file():
        return data, "manifest"
    if name := here(data):
        return data, name
    inside = [(child, name) for child in sorted(data.iterdir()) if child.is_dir() and child.name[0] != "." and (name := here(child))]
    if len(inside) > 1:
        raise UsageError(f"{data} holds more than one corpus ({', '.join(p.name for p, _ in inside)}); give one of them")
    return inside[0] if inside else None


def default_tasks(data: Path) -> tuple[str, ...]:
    """The tasks that a folder is there for, when nobody says."""
    root, name = recognise(data) or (None, "")
    if root is None:
        return ()
    if name == "manifest":
        first = _manifest.read(manifest_of(root))[0]
        return ({1: ("se",), 2: ("ss",)}.get(len(first.references)) or (("asr",) if first.text else ()) or (("sid",) if first.speaker else ()))
    if name == "LibriSpeech":
        return tuple(t for t in ("asr", "sid") if t == "asr" or _column(root, t))
    return ("sid",) if name == "speakers" else READERS[name][0]


# ---- what each looks like, and how it is read -------------------------------------------------------------------------

def _listed(found: Found, task: str, train: str) -> None:
    path = manifest_of(found.root)
    found.entries, made = _manifest.read(path), path.with_name(NOTICES)
    if made.is_file():
        found.notices += [line.removeprefix("notice: ") for line in made.read_text(encoding="utf-8").splitlines() if line.startswith("notice: ")]


def _voicebank(found: Found, task: str, train: str) -> None:
    from ..benchmark.contract import Item
    from ._voicebank import _pairs, _split, _table
    table = _table(found.root)
    pairs, found.problems = _pairs(found.root, table)
    whole = {p.id: of_file(p.id, "", p.noisy, p.speaker, references=(p.clean,)) for p in progress(pairs, "reading headers")}
    items = [Item(p.id, p.noisy, whole[p.id].samples, speaker=p.speaker) for p in pairs]
    splits, found.notices = _split(pairs, items, bool(table), found.root)
    found.entries = [replace(whole[item.id], split=split) for split in SPLITS for item in splits[split]]


def _mixtures_root(path: Path) -> Path | None:
    return next((p for p in (path / "wav16k" / "min", path / "min", path) if any(p.glob("*/mix_clean"))), None)


def _libri2mix(found: Found, task: str, train: str) -> None:
    root = _mixtures_root(found.root)
    for split, folder in zip(SPLITS, ("train-100", "dev", "test"), strict=True):
        files = {part: {p.name: p for p in _audio(root / folder / part)} for part in ("mix_clean", "s1", "s2")}
        found.hints[split] = f"{root / folder / 'mix_clean'} is missing or empty"
        for name, mixture in progress(sorted(files["mix_clean"].items()), f"reading headers of {folder}"):
            talkers = "+".join(part.split("-")[0] for part in Path(name).stem.split("_"))
            sources = tuple(root / folder / part / name for part in ("s1", "s2"))
            found.entries.append(of_file(Path(name).stem, split, mixture, talkers, references=sources))


def _librispeech(found: Found, task: str, train: str) -> None:
    """By splits.csv where there is one, else the published sets; `train` names Libri-Light's 10 h instead of train-clean-100."""
    column = _column(found.root, task)
    if task == "sid" and not column:
        found.problems.append(f"{found.root} has no splits.csv with a column sid_split, and LibriSpeech's own sets share no speaker")
        return
    sets = {p.name: p for p in found.root.iterdir() if _is_set(p)}
    if column:
        _by_table(found, column, [u for folder in sets.values() for u in _chapters(found, folder)])
        return
    light = next((p for p in (found.root / FINETUNING, found.root.parent / FINETUNING) if p.is_dir()), None)
    for split, wanted in zip(SPLITS, (train or "train-clean-100", "dev-clean", "test-clean"), strict=True):
        folder = light if wanted == FINETUNING else sets.get(wanted)
        if folder is None:
            found.hints[split] = f"unpack Libri-Light's librispeech_finetuning.tgz in or beside {found.root}" if wanted == FINETUNING else \
                f"unpack {wanted} in {found.root}, or write a splits.csv there with the columns path and asr_split"
            continue
        for path, text in progress(list(_chapters(found, folder)), f"reading headers of {wanted}"):
            found.entries.append(of_file(path.stem, split, path, path.stem.split("-")[0], text))


def _is_set(folder: Path) -> bool:
    return bool(re.match(r"(train|dev|test)-", folder.name)) and folder.is_dir() and next(folder.glob("*/*/*.trans.txt"), None) is not None


def _chapters(found: Found, folder: Path) -> Iterator[tuple[Path, str]]:
    """(audio, transcript or "") of every utterance below `folder`; a transcript without audio is a problem."""
    for chapter in sorted({p.parent for suffix in SUFFIXES for p in folder.rglob(f"*{suffix}")} | {p.parent for p in folder.rglob("*.trans.txt")}):
        audio = {p.stem: p for p in _audio(chapter)}
        texts = {}
        for labels in chapter.glob("*.trans.txt"):
            for line in labels.read_text(encoding="utf-8").splitlines():
                name, _, text = line.partition(" ")
                texts[name] = text
                if name and name not in audio:
                    found.problems.append(f"{labels} points to {name}, whose audio is missing")
        yield from ((audio[name], texts.get(name, "")) for name in sorted(audio))


def _column(root: Path, task: str) -> str:
    """The column of splits.csv that is for `task`: asr_split..., or just split; "" when there is none."""
    path = root / "splits.csv"
    if not path.is_file():
        return ""
    with open(path, newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    return next((n for n in names if n.startswith(f"{task}_split")), "split" if "split" in names else "")


def _by_table(found: Found, column: str, utterances: list[tuple[Path, str]]) -> None:
    here = {path.stem: (path, text) for path, text in utterances}
    with open(found.root / "splits.csv", newline="", encoding="utf-8") as file:
        table = {Path(row["path"]).stem: (line, row) for line, row in enumerate(csv.DictReader(file), 2) if row.get("path")}
    for name, (line, row) in progress(sorted(table.items()), "reading headers"):
        if name not in here:
            found.problems.append(f"splits.csv line {line} points to {row['path']}, which is missing")
        elif row[column] not in SPLITS:
            found.problems.append(f"splits.csv line {line} has {row[column]!r} as {column}; it is train, dev or test")
        else:
            path, text = here[name]
            found.entries.append(of_file(name, row[column], path, row.get("speaker") or name.split("-")[0], text))
    if left := len(here.keys() - table.keys()):
        found.notices.append(f"{left} utterances are not in splits.csv and are not used")


def _recordings(root: Path) -> list[Path]:
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    return [p for p in _audio(folder) if re.fullmatch(r"\d_[A-Za-z]+_\d+", p.stem)]


def _fsdd(found: Found, task: str, train: str) -> None:
    """Numbers 0-4 are test (FSDD's README); here 5 and 6 are dev and the rest training."""
    for path in _recordings(found.root):
        digit, speaker, number = path.stem.split("_")
        split = "test" if int(number) < 5 else "dev" if int(number) < 7 else "train"
        found.entries.append(of_file(path.stem, split, path, speaker, DIGITS[int(digit)]))
    found.notices.append("the same speakers in every split: test is numbers 0-4 (FSDD's README), dev 5-6")


def _identification(found: Found, task: str, train: str) -> None:
    labels = next(found.root / name for name in LISTS if (found.root / name).is_file())
    bases = [p for p in (found.root, *(found.root / b for b in ("wav", "WAVE", "dev/wav", "test/wav", "dev", "test"))) if p.is_dir()]
    texts, lines = _texts(found.root), labels.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(progress(lines, f"reading {labels.name}"), 1):
        part, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if part not in ("1", "2", "3") or "/" not in name:
            found.problems.append(f"{labels} line {number} is {line!r}; a line is 1, 2 or 3, a space, and speaker/file")
            continue
        path = next((p for p in (base / name for base in bases) if p.is_file()), None)
        if path is None:
            found.problems.append(f"{labels} line {number} points to {name}, whose audio is missing")
            continue
        id = Path(name).with_suffix("").as_posix().replace("/", "-")
        found.entries.append(of_file(id, SPLITS[int(part) - 1], path, name.split("/")[0], texts.get(Path(name).stem, "")))


def _texts(root: Path) -> dict[str, str]:
    """Transcripts of a table beside the tree, by the file's name."""
    if not (root / TRANSCRIBED).is_file():
        return {}
    with open(root / TRANSCRIBED, newline="", encoding="utf-8") as file:
        return {Path(row["path"]).stem: row["text"] for row in csv.DictReader(file) if row.get("path") and row.get("text")}


def _audio(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".") if folder.is_dir() else []


SIGNS: dict[str, Callable[[Path], bool]] = {      # in this order: the first that fits
    "manifest": lambda p: manifest_of(p) is not None,
    "VoiceBank-DEMAND": lambda p: any((p / f"noisy_testset_wav{end}").is_dir() for end in ("", "_16k")),
    "Libri2Mix": lambda p: _mixtures_root(p) is not None,
    "LibriSpeech": lambda p: any(_is_set(c) for c in p.iterdir()),
    "FSDD": lambda p: bool(_recordings(p)),
    "VoxCeleb1": lambda p: any((p / name).is_file() for name in LISTS) and (p / "dev").is_dir(),
    "speakers": lambda p: any((p / name).is_file() for name in LISTS),
}
READERS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "manifest": (("asr", "sid", "se", "ss"), _listed),
    "VoiceBank-DEMAND": (("se",), _voicebank),
    "Libri2Mix": (("ss",), _libri2mix),
    "LibriSpeech": (("asr", "sid"), _librispeech),
    "FSDD": (("asr", "sid"), _fsdd),
    "VoxCeleb1": (("sid",), _identification),
    "speakers": (("sid", "asr"), _identification),
}
