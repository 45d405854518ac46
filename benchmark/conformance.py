"""What a submitted upstream must pass, told in plain sentences: the same checks `check NAME`
prints and the tests run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .contract import SAMPLE_RATE, Upstream
from .exiting import Exit, evidence_at, leaving, replay, run_until_exit

TOLERANCE = 1e-4  # of the largest value of a state: fp32 sums in another order, over a dozen blocks


@dataclass(frozen=True)
class Finding:
    ok: bool
    sentence: str


def check_upstream(upstream: Upstream) -> list[Finding]:
    """Every check, in order; one that crashes is a finding, and the rest go on."""
    findings = []
    for check in (
        card,
        finite,
        deterministic,
        padding,
        lazy,
        compaction,
        short_and_long,
        costs,
        backbone,
        evidence,
        answers,
        exits,
        knob,
    ):
        try:
            findings += [Finding(ok, sentence) for ok, sentence in check(upstream)]
        except Exception as error:  # a stranger's code may fail in any way
            findings.append(
                Finding(
                    False,
                    (
                        f"{check.__name__.replace('_', ' ')}: it crashes with "
                        f"{type(error).__name__}: {error}"
                    ),
                )
            )
    return findings


def noise(seconds: float, seed: int = 0) -> Tensor:
    """(1, N), seeded, with pauses, so that depths have something to differ over."""
    generator = torch.Generator().manual_seed(seed)
    n = round(seconds * SAMPLE_RATE)
    envelope = (torch.sin(torch.arange(n) / SAMPLE_RATE * 9) > -0.5).float()
    return 0.1 * envelope * torch.randn(1, n, generator=generator)


@torch.no_grad()
def full(upstream: Upstream, wavs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    return list(
        upstream.states(
            wavs, torch.full((len(wavs),), wavs.shape[1]) if lengths is None else lengths
        )
    )


def together(*wavs: Tensor) -> tuple[Tensor, Tensor]:
    rows = [w[0] for w in wavs]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(
        [len(r) for r in rows]
    )


def card(up: Upstream) -> Iterator[tuple[bool, str]]:
    c, wav = up.card, noise(1.5)
    states, frames = full(up, wav), int(up.frames(torch.tensor([wav.shape[1]]))[0])
    yield (
        len(states) == c.depth + 1,
        f"the card says {c.depth} blocks, so states 0..{c.depth}; it yields {len(states)} states",
    )
    shapes = {tuple(s.shape) for s in states}
    yield (
        shapes == {(1, frames, c.dim)},
        (
            f"every state of 1.5 s should be (1, {frames}, {c.dim}) by frames() and the card; "
            f"seen: {sorted(shapes)}"
        ),
    )
    rate = (
        int(up.frames(torch.tensor([10 * SAMPLE_RATE]))[0])
        - int(up.frames(torch.tensor([5 * SAMPLE_RATE]))[0])
    ) / 5
    yield (
        abs(rate - SAMPLE_RATE / c.stride) < 1,
        (
            f"a stride of {c.stride} samples means {SAMPLE_RATE / c.stride:g} frames a second; it "
            f"gives {rate:g}"
        ),
    )
    yield (
        bool(c.name and c.revision and c.source),
        "the card names itself, its revision and its source",
    )


def finite(up: Upstream) -> Iterator[tuple[bool, str]]:
    states = full(up, noise(1.0))
    yield (
        all(bool(torch.isfinite(s).all()) for s in states),
        "all states of one second of noise are finite",
    )
    yield (
        all(s.dtype == torch.float32 for s in states),
        f"states are float32 (seen: {sorted({str(s.dtype) for s in states})})",
    )
    yield (
        all(bool(torch.isfinite(s).all()) for s in full(up, torch.zeros(1, SAMPLE_RATE))),
        "all states of one second of silence are finite",
    )


def deterministic(up: Upstream) -> Iterator[tuple[bool, str]]:
    same = all(
        torch.equal(a, b) for a, b in zip(full(up, noise(1.0)), full(up, noise(1.0)), strict=True)
    )
    yield (
        same,
        "the same audio gives the same states twice (evaluation mode: no dropout, no layer drop)",
    )


def padding(up: Upstream) -> Iterator[tuple[bool, str]]:
    clips = [noise(1.0, 1), noise(1.7, 2), noise(0.6, 3)]
    wavs, lengths = together(*clips)
    batch, frames, worst = full(up, wavs, lengths), up.frames(lengths), 0.0
    for row, clip in enumerate(clips):
        for depth, alone in enumerate(full(up, clip)):
            own = batch[depth][row, : frames[row]]
            worst = max(
                worst, float((own - alone[0]).abs().max() / alone.abs().max().clamp(min=1e-6))
            )
    yield (
        worst < TOLERANCE,
        (
            "an utterance alone and in a padded batch has the same states (largest relative "
            f"difference {worst:.1e})"
        ),
    )


def lazy(up: Upstream) -> Iterator[tuple[bool, str]]:
    def calls(take: int) -> int:
        seen, hooks = [0], []
        for module in up.modules():
            hooks.append(module.register_forward_hook(lambda *_: seen.__setitem__(0, seen[0] + 1)))
        walk = up.states(noise(0.5), torch.tensor([SAMPLE_RATE // 2]))
        with torch.no_grad():
            for _ in range(take):
                next(walk)
        walk.close()
        for hook in hooks:
            hook.remove()
        return seen[0]

    counts = [calls(1), calls(2), calls(up.card.depth + 1)]
    if counts[-1] == 0:
        yield True, "laziness cannot be seen: it calls no torch modules"
    else:
        yield (
            counts[0] <= counts[1] < counts[2] or up.card.depth == 1,
            (
                "depths not asked for are not computed (modules called for states 0, 0..1 and all: "
                f"{counts})"
            ),
        )


def compaction(up: Upstream) -> Iterator[tuple[bool, str]]:
    wavs, lengths = together(noise(1.0, 1), noise(1.3, 2), noise(0.7, 3))
    keep, at, whole = torch.tensor([2, 0]), max(1, up.card.depth // 2), full(up, wavs, lengths)
    with torch.no_grad():
        walk = up.states(wavs, lengths)
        state = next(walk)
        for _ in range(at):
            state = walk.send(None)
        rest = [walk.send(keep), *walk] if at < up.card.depth else []
    frames, worst = up.frames(lengths)[keep], 0.0
    for state, reference in zip(rest, whole[at + 1 :], strict=True):
        for row, source in enumerate(keep.tolist()):
            a, b = state[row, : frames[row]], reference[source, : frames[row]]
            worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)))
    yield (
        worst < TOLERANCE,
        f"rows sent in go on alone with unchanged states (largest relative difference {worst:.1e})",
    )


def short_and_long(up: Upstream) -> Iterator[tuple[bool, str]]:
    for seconds in (0.05, 30.0):
        state = full(up, noise(seconds))[-1]
        yield (
            state.shape[1] >= 1 and bool(torch.isfinite(state).all()),
            f"{seconds:g} s of audio works ({state.shape[1]} frames)",
        )


def costs(up: Upstream) -> Iterator[tuple[bool, str]]:
    counts = [up.macs(5 * SAMPLE_RATE, k) for k in range(up.card.depth + 1)]
    yield (
        all(b > a > 0 for a, b in pairwise(counts)),
        (f"macs() grows with depth and starts above 0 ({counts[0]:,} to {counts[-1]:,} for 5 s)"),
    )


def backbone(up: Upstream) -> Iterator[tuple[bool, str]]:
    base = up.backbone  # what full-depth and fixed-depth rows are named after
    if base is up:
        return
    pairs = zip(full(up, noise(1.0)), full(base, noise(1.0)), strict=True)
    yield (
        all(torch.equal(a, b) for a, b in pairs) and base.card.stride == up.card.stride,
        f"its backbone, {base.card.name}, gives the same states",
    )
    yield (
        base.card.name != up.card.name,
        f"its backbone has a name of its own, {base.card.name}",
    )


def _recorded(up: Upstream, wavs: Tensor, lengths: Tensor) -> np.ndarray:
    """(B, E) evidence of every exit, nobody leaving."""
    frames, states = up.frames(lengths), full(up, wavs, lengths)
    out = []
    with torch.no_grad():
        for k in up.exits:
            answer = up.answer(k, states[k], frames) if up.evidence_reads_answer else None
            out.append(evidence_at(up, k, states[k], states[k - 1], frames, answer))
    return torch.stack(out, 1).numpy()


def evidence(up: Upstream) -> Iterator[tuple[bool, str]]:
    if not up.knob:
        yield (
            not up.card.evidence,
            "it has no knob, so its card names no evidence: it is a backbone",
        )
        return
    depths = list(up.exits)
    yield (
        bool(depths) and depths == sorted(set(depths) & set(range(1, up.card.depth + 1))),
        (f"exits are depths between 1 and {up.card.depth}, strictly increasing (seen: {depths})"),
    )
    clips = [noise(1.0, 1), noise(1.7, 2), noise(0.6, 3)]
    batch = _recorded(up, *together(*clips))
    yield (
        batch.shape == (3, len(depths)),
        (f"evidence is one number an utterance and exit (3 x {len(depths)}; seen {batch.shape})"),
    )
    yield bool(np.isfinite(batch).all()), "evidence is finite"
    alone = np.concatenate([_recorded(up, *together(clip)) for clip in clips])
    worst = float(np.abs(alone - batch).max() / np.abs(alone).max())
    yield (
        worst < TOLERANCE,
        (f"evidence does not depend on the batch (largest relative difference {worst:.1e})"),
    )
    yield (
        min(up.evidence_macs(SAMPLE_RATE, k) for k in depths) >= 0,
        "evidence_macs() is not negative",
    )
    yield bool(up.card.evidence), "the card says what the evidence measures, with its unit"


def answers(up: Upstream) -> Iterator[tuple[bool, str]]:
    if not up.answers:
        return
    yield (
        not up.card.tasks or set(up.answers) <= set(up.card.tasks),
        (f"the tasks it answers ({', '.join(up.answers)}) are among those its card allows"),
    )
    clips = [noise(1.0, 1), noise(1.7, 2), noise(0.6, 3)]
    wavs, lengths = together(*clips)
    frames, states, worst = up.frames(lengths), full(up, wavs, lengths), 0.0
    with torch.no_grad():
        for k in leaving(up):
            batch = up.answer(k, states[k], frames)
            for row, clip in enumerate(clips):
                own = full(up, clip)[k]
                [alone] = up.answer(k, own, up.frames(torch.tensor([clip.shape[1]])))
                if alone.shape != batch[row].shape:
                    worst = float("inf")
                elif alone.numel():
                    apart = (alone.double() - batch[row].double()).abs().max()
                    worst = max(worst, float(apart / alone.double().abs().max().clamp(min=1e-6)))
    yield (
        worst < TOLERANCE,
        (
            "an answer does not depend on the batch, its shape included (largest relative "
            f"difference {worst:.1e})"
        ),
    )
    yield (
        min(up.answer_macs(SAMPLE_RATE, k) for k in leaving(up)) > 0,
        "answer_macs() counts every answer",
    )


def exits(up: Upstream) -> Iterator[tuple[bool, str]]:
    if not up.knob:
        return
    wavs, lengths = together(*[noise(s, i) for i, s in enumerate((1.0, 0.5, 1.4, 0.8))])
    recorded, depths = _recorded(up, wavs, lengths), leaving(up)
    same, run = True, []
    # thresholds between recorded values: batches of other sizes may round the last digit
    # differently
    values = np.unique(recorded)
    between = [float((a + b) / 2) for a, b in zip(values[:-1:7], values[1::7], strict=False)]
    for tau in (float(values[0] - 1), *between, float(values[-1] + 1)):
        live = run_until_exit(up, wavs, lengths, Exit(depths, tau)).depth.numpy()
        same = same and bool((live == replay(recorded, Exit(depths, tau), up.exits)).all())
        run.append(live.mean())
    yield (
        same,
        f"a live run leaves exactly where the recorded evidence says, at {len(run)} thresholds",
    )
    yield run == sorted(run, reverse=True), "a larger threshold never means a later exit"


def knob(up: Upstream) -> Iterator[tuple[bool, str]]:
    if not up.knob:
        return
    recorded = _recorded(up, *together(*[noise(0.6 + 0.2 * i, i) for i in range(6)]))
    for value in up.knob_values:
        tau = up.tau(recorded, value)
        yield (
            isinstance(tau, float) and np.isfinite(tau),
            (f"{up.knob} {value:g} calibrates to a finite threshold ({tau:.6g})"),
        )
