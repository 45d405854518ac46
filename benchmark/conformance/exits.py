"""What an upstream's evidence, answers, exits and knob must do, where it has them."""

import numpy as np
import torch

from ..asking import depth_before, evidence_at
from ..contract import SAMPLE_RATE, Upstream
from ..exiting import Exit, leaving, replay, run_until_exit
from .finding import Findings
from .probe import TOLERANCE, clips, evidence_of, noise, padded, relative_difference, states_of


def evidence(up: Upstream) -> Findings:
    if not up.knob:
        said = "it has no knob, so its card names no evidence: it is a backbone"
        yield not up.card.evidence, said
        return
    yield up.card.stepped, "it exits, so its card may not say that all depths are computed"
    depths, last = list(up.exits), up.card.depth
    sound = bool(depths) and depths == sorted(set(depths) & set(range(1, last + 1)))
    said = f"exits are depths between 1 and {last}, strictly increasing"
    yield sound, f"{said} (seen: {depths})"
    batch = evidence_of(up, *padded(clips()))
    said = f"evidence is one number an utterance and exit (3 x {len(depths)}; seen {batch.shape})"
    yield batch.shape == (3, len(depths)), said
    yield bool(np.isfinite(batch).all()), "evidence is finite"
    alone = np.concatenate([evidence_of(up, *padded([clip])) for clip in clips()])
    worst = float(np.abs(alone - batch).max() / np.abs(alone).max())
    said = "evidence does not depend on the batch"
    yield worst < TOLERANCE, f"{said} (largest relative difference {worst:.1e})"
    cheapest = min(up.evidence_macs(SAMPLE_RATE, depth) for depth in depths)
    yield cheapest >= 0, "evidence_macs() is not negative"
    yield bool(up.card.evidence), "the card says what the evidence measures, with its unit"


def writes_nothing(up: Upstream) -> Findings:
    if not (up.knob or up.answers):
        return
    wavs, lengths = padded(clips())
    states, frames, same = states_of(up, wavs, lengths), up.frames(lengths), True
    before = [*map(torch.clone, states)]
    with torch.no_grad():
        for depth in up.exits:
            answered = up.evidence_reads_answer or up.answers
            answer = up.answer(depth, states[depth], frames) if answered else None
            near = depth_before(up, depth), depth
            if up.knob:
                evidence_at(up, depth, states[depth], states[near[0]], frames, answer)
            same = same and all(torch.equal(states[k], before[k]) for k in near)
    yield same, "evidence() and answer() leave the states as they are"


def answers(up: Upstream) -> Findings:
    if not up.answers:
        return
    allowed = not up.card.tasks or set(up.answers) <= set(up.card.tasks)
    said = f"the tasks it answers ({', '.join(up.answers)}) are among those its card allows"
    yield allowed, said
    worst = max(_answers_differ(up, depth) for depth in leaving(up))
    said = "an answer does not depend on the batch, its shape included"
    yield worst < TOLERANCE, f"{said} (largest relative difference {worst:.1e})"
    cheapest = min(up.answer_macs(SAMPLE_RATE, depth) for depth in leaving(up))
    yield cheapest > 0, "answer_macs() counts every answer"


def exits(up: Upstream) -> Findings:
    if not up.knob:
        return
    lengths_of = (1.0, 0.5, 1.4, 0.8)  # seconds
    wavs, lengths = padded([noise(seconds, i) for i, seconds in enumerate(lengths_of)])
    stored, depths = evidence_of(up, wavs, lengths), leaving(up)
    # thresholds between stored values: batches of other sizes may round the last digit differently
    values = np.unique(stored)
    between = [float((a + b) / 2) for a, b in zip(values[:-1:7], values[1::7], strict=False)]
    taus = (float(values[0] - 1), *between, float(values[-1] + 1))
    same = never_later = True
    for patience in sorted({up.patience(value) for value in up.knob_values}):
        mean_depths = []
        for tau in taus:
            exit = Exit(depths, tau, patience)
            live = run_until_exit(up, wavs, lengths, exit).depth.numpy()
            same = same and bool((live == replay(stored, exit, up.exits)).all())
            mean_depths.append(live.mean())
        never_later = never_later and mean_depths == sorted(mean_depths, reverse=True)
    thresholds = f"at {len(taus)} thresholds"
    yield same, f"a live run leaves exactly where the stored evidence says, {thresholds}"
    yield never_later, "a larger threshold never means a later exit"


def knob(up: Upstream) -> Findings:
    if not up.knob:
        return
    stored = evidence_of(up, *padded([noise(0.6 + 0.2 * i, i) for i in range(6)]))
    for value in up.knob_values:
        tau = up.tau(stored, value)
        sound = isinstance(tau, float) and bool(np.isfinite(tau))
        yield sound, f"{up.knob} {value:g} calibrates to a finite threshold ({tau:.6g})"


CHECKS = (evidence, writes_nothing, answers, exits, knob)


@torch.no_grad()
def _answers_differ(up: Upstream, depth: int) -> float:
    """The largest relative difference of answers alone and in a batch; inf if shapes differ."""
    wavs, lengths = padded(clips())
    batch = up.answer(depth, states_of(up, wavs, lengths)[depth], up.frames(lengths))
    worst = 0.0
    for row, clip in enumerate(clips()):
        state = states_of(up, clip)[depth]
        [alone] = up.answer(depth, state, up.frames(torch.tensor([clip.shape[1]])))
        if alone.shape != batch[row].shape:
            return float("inf")
        if alone.numel():
            worst = max(worst, relative_difference(batch[row].double(), alone.double()))
    return worst
