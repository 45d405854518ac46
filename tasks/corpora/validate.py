"""What makes a list of utterances unusable: every complaint at once, before an hour of
training finds the first.

Of what a field promises only its presence is checked here; what a task needs it to say is
left to the check of the task.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ...benchmark.audio import header, inspect
from ...benchmark.audio_tree import is_there
from ...benchmark.errors import UsageError
from .entry import SPLITS, Entry, progress, repeated, sha
from .fields import REFERENCES

# fields that are labels, and what they are called
PRESENT = {"text": "transcript", "speaker": "speaker"}


def problems(
    entries: Sequence[Entry], fields: Sequence[str], hints: Mapping[str, str]
) -> list[str]:
    """Everything that headers and labels tell: audio, splits, and the presence of `fields`.

    Args:
        hints: split -> where its utterances would come from.
    """
    unsplit, counts = sum(not e.split for e in entries), Counter(e.split for e in entries)
    found = (
        [f"{unsplit} utterances have no split; give each line train, dev or test"]
        if unsplit
        else []
    )
    found += [
        f"no utterance for {split}" + (f": {hints[split]}" if split in hints else "")
        for split in SPLITS
        if not counts[split]
    ]
    twice = Counter((e.id, e.split) for e in repeated(entries, lambda e: (e.id, e.split)))
    found += [
        f"{id} is the id of {n} utterances of {split or 'no split'}"
        for (id, split), n in twice.items()
    ]
    for e in progress(entries, "checking the list"):
        if not e.samples or not is_there(e.path):
            found.append(_reason(e.path))
        found += [
            f"{e.id} has no {PRESENT[name]}"
            for name in fields
            if name in PRESENT and not getattr(e, name)
        ]
        for name in fields:
            if name in REFERENCES:
                found += _references(e, name)
    return found


def damage(entries: Sequence[Entry]) -> Iterator[str]:
    """What only decoding tells: truncated, empty, silent or NaN audio, pieces beyond a file's end,
    files changed since they were listed.
    """
    lengths: dict = {}
    for e in progress(entries, "decoding"):
        for path in (e.path, *e.references):
            if path in lengths:
                continue
            try:
                head, peak = inspect(path)
                lengths[path] = head.samples
                if peak == 0:
                    yield f"{path} is digital silence" + (
                        f" once its {head.channels} channels are averaged"
                        if head.channels > 1
                        else ""
                    )
            except UsageError as error:
                lengths[path] = None
                yield _short(error)
        total = lengths[e.path]
        for path in e.references:
            if None not in (total, lengths[path]) and lengths[path] > total:
                yield longer(path, lengths[path], e.path, total)
        if total is not None and e.start + e.samples > total:
            yield (
                f"{e.id}: samples {e.start} to {e.start + e.samples} of {e.path}, which has {total}"
            )
        if e.sha and None not in (lengths[p] for p in (e.path, *e.references)) and sha(e) != e.sha:
            yield f"{e.id}: {e.path} is not the file that was listed (another content hash)"


def longer(path: Path, samples: int, of: Path, total: int) -> str:
    """The complaint about a further file that lasts longer than what it belongs to."""
    return (
        f"{path} is longer ({samples} samples at 16 kHz) than {of} ({total}), to which it belongs"
    )


def _references(e: Entry, name: str) -> Iterable[str]:
    if len(e.references) != REFERENCES[name]:
        yield (
            f"{e.id} has {len(e.references)} further files where its field {name} is "
            f"{REFERENCES[name]}"
        )
        return
    for path in e.references:
        try:
            samples = header(path).samples
        except UsageError as error:
            yield _short(error)
            continue
        if samples < e.start + e.samples:
            yield (
                f"{path} is shorter ({samples} samples at 16 kHz) than {e.path} "
                f"({e.start + e.samples}), to which it belongs"
            )


def _reason(path: Path) -> str:
    try:
        header(path)
    except UsageError as error:
        return _short(error)
    return f"{path} is listed with no length"


def _short(error: UsageError) -> str:
    """The complaint without its remedy."""
    return str(error).rpartition("; ")[0]
