"""What makes a list of utterances unusable for a task: every complaint at once, before an hour of training finds the first."""
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from ..benchmark.audio import header, inspect
from ..benchmark.errors import UsageError
from ._characters import LETTERS, frames_needed, target
from ._manifest import SPLITS, Entry, progress, sha

STRIDE, WINDOW = 320, 400      # samples a frame of HuBERT, wav2vec 2.0 and WavLM, and what one frame hears: the coarsest upstreams in use
REFERENCES = {"se": (1, "clean"), "ss": (2, "source")}


def problems(entries: Sequence[Entry], task: str, hints: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Everything that headers and labels tell: audio, splits, and what `task` needs of each utterance.

    `hints` says of a split where it would come from.
    """
    found = [f"{n} utterances have no split; give each line train, dev or test" for n in [sum(not e.split for e in entries)] if n]
    counts = Counter(e.split for e in entries)
    found += [f"no utterance for {split}" + (f": {hints[split]}" if split in hints else "") for split in SPLITS if not counts[split]]
    heard = set()
    for e in progress(entries, "checking the list"):
        if not e.samples or not e.path.is_file():
            found.append(_reason(e.path))
        elif e.path not in heard:
            heard.add(e.path)
        if task in REFERENCES:
            found += _references(e, *REFERENCES[task])
    if task == "asr":
        found += _transcripts(entries)
    if task == "sid":
        found += _speakers(entries)
    return found


def damage(entries: Sequence[Entry]) -> Iterator[str]:
    """What only decoding tells: truncated, empty, silent or NaN audio, pieces beyond a file's end, files changed since they were listed."""
    lengths: dict = {}
    for e in progress(entries, "decoding"):
        for path in (e.path, *e.references):
            if path in lengths:
                continue
            try:
                head, peak = inspect(path)
                lengths[path] = head.samples
                if peak == 0:
                    yield f"{path} is digital silence"
            except UsageError as error:
                lengths[path] = None
                yield _short(error)
        total = lengths[e.path]
        for path in e.references:
            if None not in (total, lengths[path]) and lengths[path] > total:
                yield f"{path} is longer ({lengths[path]} samples at 16 kHz) than {e.path} ({total}), to which it belongs"
        if total is not None and e.start + e.samples > total:
            yield f"{e.id}: samples {e.start} to {e.start + e.samples} of {e.path}, which has {total}"
        if e.sha and None not in (lengths[p] for p in (e.path, *e.references)) and sha(e) != e.sha:
            yield f"{e.id}: {e.path} is not the file that was listed (another content hash)"


def _references(e: Entry, wanted: int, what: str) -> Iterable[str]:
    if len(e.references) != wanted:
        yield f"{e.id} has {len(e.references)} {what} files where {wanted} belong to it"
    for path in e.references:
        try:
            samples = header(path).samples
        except UsageError as error:
            yield _short(error)
            continue
        if samples < e.start + e.samples:
            yield f"{path} is shorter ({samples} samples at 16 kHz) than {e.path} ({e.start + e.samples}), to which it belongs"


def _transcripts(entries: Iterable[Entry]) -> Iterable[str]:
    for e in entries:
        if not e.text:
            yield f"{e.id} has no transcript"
        elif strange := sorted(set(e.text) - LETTERS):
            yield f"{e.id}: its transcript has {' '.join(map(repr, strange))}, which the dictionary (A-Z, apostrophe, space) cannot spell"
        elif e.samples and (said := too_long(e)):
            yield said


def too_long(e: Entry, join: int = 1) -> str:
    """What is wrong with a transcript that CTC cannot write in the frames its audio has, read `join` at a time; or ""."""
    needed, frames = frames_needed(target(e.text)), max(0, (e.samples - WINDOW) // STRIDE + 1) // join
    return f"{e.id}: CTC needs {needed} frames of {20 * join} ms for its transcript and its audio has {frames}" if needed > frames else ""


def _speakers(entries: Iterable[Entry]) -> Iterable[str]:
    known = {e.speaker for e in entries if e.split == "train"}
    if len(known) == 1:
        yield f"{next(iter(known))} is the only speaker in training; identification needs two"
    strangers: Counter = Counter()
    for e in entries:
        if not e.speaker:
            yield f"{e.id} has no speaker"
        elif e.split in ("dev", "test") and e.speaker not in known:
            strangers[e.split, e.speaker] += 1
    for (split, speaker), n in strangers.items():
        yield f"speaker {speaker} has {n} utterances in {split} and none in training"


def _reason(path) -> str:
    try:
        header(path)
    except UsageError as error:
        return _short(error)
    return f"{path} is listed with no length"


def _short(error: UsageError) -> str:
    """The complaint without its remedy."""
    return str(error).rpartition("; ")[0]
