"""Speech of any recognition corpus at several noise ratios: `run_benchmark.py data snr`.

DAISY's noise study (sec. 4.3): of every split 40 % stay clean and 30, 20 and 10 % get noise at 10,
5 and 0 dB, by a seeded draw; splits, transcripts and speakers stay. Ratios are over the active part
of each signal (`noise.py`); what is added is in `noise_pools.py`.

`crossed` is for sec. 4.2: every utterance at every ratio with every kind of noise, the same cut of
the same recording at all ratios, so that differences are paired.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

from ...benchmark.contract import Corpus, Item, Task
from ...benchmark.errors import UsageError, listed
from ...benchmark.registry import tasks
from . import Need, manifest, open_corpus
from .entry import SPLITS
from .manifest_row import CLEAN
from .noise_pools import KINDS
from .noisy_copies import Job, Noises, file_names, request_of, write_copies

VERSION = 1  # of these recipes; another where their bytes change
NOISE = Noises()  # DAISY, sec. 4.3, adds noise alone
# DAISY, sec. 4.3: ratio (dB, None = clean) -> percent of each split
SHARES: Mapping[float | None, float] = {None: 40.0, 10.0: 30.0, 5.0: 20.0, 0.0: 10.0}

README = """Speech of {speech} at several noise ratios, made by earlyexit-superb.
Ratios are in manifest.csv (dB, over active frames of 20 ms). The licences of the recordings still \
hold.
{notices}"""


def make_snr(
    speech: Path | None,
    out: Path,
    noises: Noises = NOISE,
    shares: Mapping[float | None, float] = SHARES,
    seed: int = 0,
    limit: int | None = None,
) -> dict:
    """Every utterance once, at a ratio of `shares`, in the folder `out`.

    Args:
        speech: a corpus with transcripts; None = the built-in one of recognition.
        shares: ratio (dB, None = clean) -> its share of each split, in any unit.
        limit: about so many utterances in all, drawn by `seed`; None = all.

    Returns:
        "message" in words, "made" now, and in all "train", "dev", "test" utterances.

    Raises:
        UsageError: the speech cannot be used, there is too little noise for three splits, or `out`
            holds something else.
    """
    out = Path(out)
    _refuse_inside(out, [*([speech] if speech else []), *noises.folders.values()])
    corpus = opened(speech)
    chosen = _limited(corpus.splits, limit, seed)
    pools = noises.pools(corpus, speech is None, seed)
    jobs = list(_dealt(chosen, noises.kinds, shares, seed))
    of = f"{', '.join(f'{share:g} parts {_ratio(k)}' for k, share in shares.items())}"
    notices = [*corpus.notices, f"noise added: {of}", *(p.about for p in pools.values())]
    told = [(_ratio(k), share) for k, share in shares.items()]
    options = [VERSION, corpus.hash, list(noises.kinds), told, seed, limit]
    request = request_of(options, pools)
    made = write_copies(out, jobs, pools, seed, request, _readme(corpus, notices))
    counts = {split: len(items) for split, items in chosen.items()}
    has = ", ".join(f"{n} {split}" for split, n in counts.items())
    message = f"{out}: {has} utterances, {made} of them made now; {'; '.join(notices)}"
    if made is None:
        message = f"{out} holds this corpus already; nothing was done"
    return {"made": made or 0, **counts, "message": message}


def crossed(
    corpus: Corpus,
    items: Sequence[Item],
    root: Path,
    noises: Noises,
    ratios: Sequence[float],
    seed: int = 0,
    builtin: bool = False,
) -> list[Item]:
    """Some test `items` of `corpus` as they are, and with every kind of noise at every ratio.

    Args:
        root: where the corpus gets a folder, named by the request.
        ratios: dB.
        builtin: whether `corpus` is the built-in one.

    Returns: items of that folder, made now where they are missing; in `more` their "text", "snr"
    (dB, or "clean"), "noise" (the kind) and "utterance": the id of the item they are made of.
    """
    pools = noises.pools(corpus, builtin, seed)
    jobs, of = [], {}
    for number, (item, name) in enumerate(zip(items, _names(items), strict=True)):
        mine = [Job(f"{name}.{CLEAN}", "test", item)]
        mine += [
            Job(f"{name}.{kind}.{ratio:g}", "test", item, kind, ratio, number * len(KINDS) + n)
            for n, kind in enumerate(noises.kinds)
            for ratio in ratios
        ]
        of |= {job.id: {"utterance": item.id, "text": item.more["text"]} for job in mine}
        jobs += mine
    told = [list(ratios), [(item.id, item.samples) for item in items]]
    options = [VERSION, corpus.hash, list(noises.kinds), told, seed]
    notices = [*corpus.notices, *(p.about for p in pools.values())]
    request = request_of(options, pools)
    out = Path(root) / request
    write_copies(out, jobs, pools, seed, request, _readme(corpus, notices))
    return [
        Item(e.id, e.path, e.samples, e.start, e.speaker, {**of[e.id], **e.more})
        for e in manifest.read(out / manifest.NAME)
    ]


def recognition() -> Task:
    """The task whose corpora are needed here: it asks for transcripts and nothing else."""
    every = (tasks.get(name) for name in tasks.names())
    return next(task for task in every if task.needs == ("text",))


def opened(speech: Path | None) -> Corpus:
    """The corpus of clean speech with its transcripts. UsageError with all that is wrong."""
    task = recognition()
    corpus = open_corpus(speech, Need(task.needs, task.name), task.mini)
    if corpus.problems:
        raise UsageError(
            f"{speech} cannot be used: {listed(corpus.problems)}; mend it, and see all that is "
            f"wrong with: run_benchmark.py data verify {speech} --task {task.name}"
        )
    return corpus


def _refuse_inside(out: Path, sources: Sequence[Path]) -> None:
    for source in sources:
        if source.resolve() in (out.resolve(), *out.resolve().parents):
            raise UsageError(
                f"the new folder {out} would lie among its own sources in {source}; choose another "
                "--out"
            )


def _limited(
    splits: Mapping[str, Sequence[Item]], limit: int | None, seed: int
) -> dict[str, list[Item]]:
    """About `limit` in all, every split in proportion and none empty, in their old order."""
    total, chosen = sum(map(len, splits.values())), {}
    for split in SPLITS:
        items = list(splits[split])
        if limit is not None and limit < total:
            count = max(1, round(limit * len(items) / total))
            rng = random.Random(f"limit-{seed}-{split}")
            items = [items[i] for i in sorted(rng.sample(range(len(items)), count))]
        chosen[split] = items
    return chosen


def _dealt(
    chosen: Mapping[str, Sequence[Item]],
    kinds: Sequence[str],
    shares: Mapping[float | None, float],
    seed: int,
) -> Iterator[Job]:
    """Ratios dealt out in each split, and the kinds of noise in turn among the noisy ones."""
    draw = 0
    for split in SPLITS:
        items, rng = chosen[split], random.Random(f"snr-{seed}-{split}")
        ratios = _counted(shares, len(items))
        rng.shuffle(ratios)
        turns = list(islice(cycle(kinds), len(items)))
        rng.shuffle(turns)
        for item, name, ratio, kind in zip(items, _names(items), ratios, turns, strict=True):
            yield Job(name, split, item, "" if ratio is None else kind, ratio, draw)
            draw += 1


def _counted(shares: Mapping[float | None, float], n: int) -> list[float | None]:
    """`n` ratios in these shares, rounded by largest remainders."""
    exact = {ratio: n * share / sum(shares.values()) for ratio, share in shares.items()}
    counts = {ratio: int(x) for ratio, x in exact.items()}
    for ratio in sorted(exact, key=lambda r: counts[r] - exact[r])[: n - sum(counts.values())]:
        counts[ratio] += 1
    return [ratio for ratio, count in counts.items() for _ in range(count)]


def _names(items: Sequence[Item]) -> list[str]:
    return file_names([item.id for item in items])


def _ratio(ratio: float | None) -> str:
    return CLEAN if ratio is None else f"{ratio:g} dB"


def _readme(corpus: Corpus, notices: Sequence[str]) -> str:
    lines = "".join(f"notice: {notice}\n" for notice in notices)
    return README.format(speech=corpus.name, notices=lines)
