"""Corpora as they lie on disk, recognised by their folders and read into one list of utterances.

    manifest          manifest.csv in the folder, or the list itself (what `data prepare` writes)
    VoiceBank-DEMAND  {clean,noisy}_{trainset_28spk,testset}_wav[_16k]/*.wav        clean
    Libri2Mix         [wav16k/min/]{train-100,dev,test}/{mix_clean,s1,s2}/*.wav     sources
    LibriSpeech       {train,dev,test}-*/<speaker>/<chapter>/*.flac and .trans.txt  text, speaker
    FSDD              recordings/<digit>_<speaker>_<number>.wav                     text, speaker
    VoxCeleb1         [{dev,test}/][wav/]<speaker>/... and a list of identification speaker
    speakers          any tree with a folder a speaker and iden_split.txt           speaker, text

One file per reader; each states in its docstring where its splits come from. `__init__.py` says how
to add one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...benchmark.audio_tree import SUFFIXES, is_there, listed, others, walk
from ...benchmark.errors import UsageError
from . import entry, manifest, validate
from .entry import Entry
from .fields import REFERENCES, Found, Layout, Need
from .fsdd import FSDD
from .librimix import LIBRI2MIX
from .librispeech import FINETUNING, LIBRISPEECH
from .manifest import manifest_of
from .voicebank import VOICEBANK
from .voxceleb import SPEAKERS, VOXCELEB1

NOTICES = "README.txt"  # of a prepared corpus; its lines "notice: ..." go into the rows


def _read_list(found: Found, need: Need) -> None:
    path = manifest_of(found.root)
    found.entries, made = manifest.read(path), path.with_name(NOTICES)
    if made.is_file():
        lines = made.read_text(encoding="utf-8", errors="replace").splitlines()
        found.notices += [
            line.removeprefix("notice: ") for line in lines if line.startswith("notice: ")
        ]


def _offered(root: Path, task: str) -> tuple[str, ...]:
    """The one field that a list is there for, by its first utterance."""
    first = manifest.first(manifest_of(root))
    files = [(name,) for name, count in REFERENCES.items() if len(first.references) == count]
    return (*files, *[("text",)] * bool(first.text), *[("speaker",)] * bool(first.speaker), ())[0]


MANIFEST = Layout(
    "manifest",
    ("text", "speaker", *REFERENCES),
    lambda p: manifest_of(p) is not None,
    _read_list,
    _offered,
)
# the first that fits
LAYOUTS = (MANIFEST, VOICEBANK, LIBRI2MIX, LIBRISPEECH, FSDD, VOXCELEB1, SPEAKERS)


def scan(data: Path, need: Need) -> Found:
    """What lies at `data`, its problems listed instead of raised. UsageError
    when no layout fits.
    """
    data = Path(data)
    if not data.exists():
        raise UsageError(f"there is no {data}; check the path: ls {data.parent}")
    root, layout = recognise(data) or (data, None)
    wanted = " and ".join(need.fields)
    if layout is None:
        known = [one for one in LAYOUTS if set(need.fields) <= set(one.fields)]
        raise UsageError(
            f"{data} is in none of the layouts{' with ' * bool(wanted)}{wanted} "
            f"({', '.join(one.name for one in known)}); "
            + "".join(
                f"make such a corpus: {one.made_by}; or " for one in known if one.made_by and wanted
            )
            + "list it in a CSV with the columns path, split, speaker, text and give that list"
        )
    if lacking := [name for name in need.fields if name not in layout.fields]:
        raise UsageError(
            f"{root} is laid out as {layout.name}, which has {' and '.join(layout.fields)}, "
            f"not {' and '.join(lacking)}; give a corpus with {wanted}, or a list of its "
            "own: run_benchmark.py data prepare --help"
        )
    found = Found(layout.name, root)
    layout.read(found, need)
    found.notices += [*entry.notices(found.entries), *_shared(found.entries)]
    if need.train == FINETUNING and not any(FINETUNING in e.path.parts for e in found.entries):
        found.notices.append(f"trained on this corpus' own training split, not on {FINETUNING}")
    found.notices = list(dict.fromkeys(found.notices))
    return found


def _shared(entries: Sequence[Entry]) -> list[str]:
    """A notice where one recording is in two splits."""
    split_of: dict[tuple, str] = {}
    twice = [
        e
        for e in entry.repeated(entries, lambda e: (e.path, e.start, e.samples))
        if split_of.setdefault((e.path, e.start, e.samples), e.split) != e.split
    ]
    first = f" (the first: {twice[0].path})" if twice else ""
    return [f"{len(twice)} recordings are in more than one split{first}"] if twice else []


def left_out(found: Found) -> list[str]:
    """What lies below a recognised folder and is not in its entries, in a sentence or two."""
    if found.root.is_file() or found.layout == MANIFEST.name:  # a list chooses
        return []
    used = {path for e in found.entries for path in (e.path, *e.references)}
    there = list(walk(found.root))
    left = [p for p in there if p.suffix.lower() in SUFFIXES and p not in used]
    said = []
    if left:
        tops = Counter(p.relative_to(found.root).parts[0] for p in left)
        most = ", ".join(f"{n} in {top}" for top, n in tops.most_common(3))
        said.append(
            f"{len(left)} audio files below {found.root} are not used ({most}; such as "
            f"{min(left).relative_to(found.root)})"
        )
    if unread := others(there):
        said.append(f"{unread} below {found.root} are not read; convert them first (ffmpeg, sox)")
    return said


def wrong(found: Found, need: Need) -> list[str]:
    """Everything that keeps it from having what is needed, as far as headers and labels tell."""
    return found.problems + validate.problems(found.entries, need.fields, found.hints)


def recognise(data: Path, deeper: int = 2) -> tuple[Path, Layout] | None:
    """The folder itself, or the only one of its children that is laid out like something;
    as what. Folders that hold nothing but a folder are looked into, `deeper` levels of them.
    """

    def here(path: Path) -> Layout | None:
        return next((layout for layout in LAYOUTS if layout.is_it(path)), None)

    if is_there(data):
        return data, MANIFEST
    if not data.is_dir():
        raise UsageError(f"{data} is neither a folder nor a file; give a corpus, or a list of one")
    if layout := here(data):
        return data, layout
    children = [p for name in listed(data) if name[0] != "." and (p := data / name).is_dir()]
    inside = [(child, layout) for child in children if (layout := here(child))]
    if not inside and len(children) == 1 and deeper:  # unpacked into a folder of its own
        return recognise(children[0], deeper - 1)
    if len(inside) > 1:
        names = ", ".join(path.name for path, _ in inside)
        raise UsageError(f"{data} holds more than one corpus ({names}); give one of them")
    return inside[0] if inside else None


def offers(data: Path, task: str, called: str = "") -> tuple[str, ...]:
    """The fields that a folder is there for when nobody says, the best first; () in no layout.

    Args:
        task: who asks, for lists with a column of splits for each task.
        called: what it is taken for by name, where nothing tells: "speakers" may lack its list.
    """
    root, layout = recognise(data) or (data, None)
    if layout is None:
        return SPEAKERS.offers(root, task) if called == "speakers" else ()
    return layout.offers(root, task) if layout.offers else layout.fields
