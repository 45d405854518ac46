"""What keeps a corpus from being used for a task, said before anything is spent."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor, int64, tensor

from .contract import SAMPLE_RATE, Corpus, Protocol, Task
from .errors import UsageError, listed

LONG, USUAL = 60, 10  # seconds: of what is announced, and of what it is compared with
WINDOW, STRIDE = 400, 320  # samples, of a frame of HuBERT, wav2vec 2.0 and WavLM


def usual_frames(lengths: Tensor) -> Tensor:
    """(B,) samples -> (B,) frames of the usual upstreams: what a corpus is held against
    where none is named.
    """
    return ((lengths - WINDOW) // STRIDE + 1).clamp(min=0)


def problems(
    task: Task,
    corpus: Corpus,
    protocol: Protocol,
    frames: Callable[[Tensor], Tensor] = usual_frames,
) -> list[str]:
    """Everything that is wrong, a sentence each.

    Args:
        frames: of the upstream that is to read it, (B,) samples -> (B,).
    """
    own = task.check(corpus, protocol, frames) if task.check else ()
    return list(dict.fromkeys([*corpus.problems, *_frameless(corpus, frames), *own]))


def _frameless(corpus: Corpus, frames: Callable[[Tensor], Tensor]) -> Iterator[str]:
    """A sentence for every utterance of which the upstream would make no frame at all."""
    for split, items in corpus.splits.items():
        counts = frames(tensor([item.samples for item in items], dtype=int64))
        for n in (counts < 1).nonzero().flatten().tolist():
            yield (
                f"{items[n].id} of {split} has {items[n].samples} samples, too few for a frame of "
                "the upstream"
            )


def long_audio(
    corpus: Corpus, frames: Callable[[Tensor], Tensor] = usual_frames
) -> tuple[str, ...]:
    """A notice about utterances of minutes: attention compares every frame with every other."""
    long = [i for items in corpus.splits.values() for i in items if i.samples > LONG * SAMPLE_RATE]
    if not long:
        return ()
    longest = max(long, key=lambda item: item.samples)
    most, usual = frames(tensor([longest.samples, USUAL * SAMPLE_RATE])).tolist()
    return (
        f"{len(long)} utterances are longer than {LONG} s; {longest.id} has "
        f"{longest.samples / SAMPLE_RATE / 60:.1f} min, {most} frames: an upstream that attends "
        f"to all of them costs as much as for {round((most / usual) ** 2)} utterances of "
        f"{USUAL} s, and "
        f"{most**2 * 4e-9:.1f} GB a head where its weights are kept; a list with start and seconds "
        "cuts such utterances",
    )


def opened(
    task: Task,
    data: Path | None,
    protocol: Protocol,
    frames: Callable[[Tensor], Tensor] = usual_frames,
) -> Corpus:
    """The corpus of a run. UsageError with everything that is wrong with it, in one sentence."""
    corpus = task.corpus(data, protocol)
    if wrong := problems(task, corpus, protocol, frames):
        name = data or "the built-in corpus"
        verify = (
            f"; everything wrong with it: run_benchmark.py data verify {data} --task {task.name}"
            if data
            else ""
        )
        raise UsageError(
            f"{name} cannot serve {task.name}: {listed(wrong)}; mend it, or take another corpus or "
            f"upstream{verify}"
        )
    return replace(corpus, notices=(*corpus.notices, *long_audio(corpus, frames)))
