"""What an upstream's card, states and costs must do."""

from itertools import pairwise

import torch

from ..contract import SAMPLE_RATE, Upstream
from .finding import Finding, Findings
from .probe import TOLERANCE, clips, noise, padded, relative_difference, states_of

DROWNS = 0.9  # of the states' summed variance, in one depth


def card(up: Upstream) -> Findings:
    card, wav = up.card, noise(1.5)
    states, frames = states_of(up, wav), _frames(up, wav.shape[1])
    said = f"the card says {card.depth} blocks, so states 0..{card.depth}"
    yield len(states) == card.depth + 1, f"{said}; it yields {len(states)} states"
    shapes = {tuple(s.shape) for s in states}
    expected = (1, frames, card.dim)
    said = f"every state of 1.5 s should be {expected} by frames() and the card"
    yield shapes == {expected}, f"{said}; seen: {sorted(shapes)}"
    rate = (_frames(up, 10 * SAMPLE_RATE) - _frames(up, 5 * SAMPLE_RATE)) / 5
    expected_rate = SAMPLE_RATE / card.stride
    said = f"a stride of {card.stride} samples means {expected_rate:g} frames a second"
    yield abs(rate - expected_rate) < 1, f"{said}; it gives {rate:g}"
    named = bool(card.name and card.revision and card.source)
    yield named, "the card names itself, its revision and its source"


def finite(up: Upstream) -> Findings:
    states = states_of(up, noise(1.0))
    finite = all(bool(torch.isfinite(s).all()) for s in states)
    yield finite, "all states of one second of noise are finite"
    dtypes = {str(s.dtype) for s in states}
    yield dtypes == {"torch.float32"}, f"states are float32 (seen: {sorted(dtypes)})"
    silence = states_of(up, torch.zeros(1, SAMPLE_RATE))
    finite = all(bool(torch.isfinite(s).all()) for s in silence)
    yield finite, "all states of one second of silence are finite"


def deterministic(up: Upstream) -> Findings:
    first, second = states_of(up, noise(1.0)), states_of(up, noise(1.0))
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    how = "evaluation mode: no dropout, no layer drop"
    yield same, f"the same audio gives the same states twice ({how})"


def padding(up: Upstream) -> Findings:
    wavs, lengths = padded(clips())
    batch, frames, worst = states_of(up, wavs, lengths), up.frames(lengths), 0.0
    for row, clip in enumerate(clips()):
        for depth, alone in enumerate(states_of(up, clip)):
            valid = batch[depth][row, : frames[row]]
            worst = max(worst, relative_difference(valid, alone[0]))
    said = "an utterance alone and in a padded batch has the same states"
    yield worst < TOLERANCE, f"{said} (largest relative difference {worst:.1e})"


def writes_nothing(up: Upstream) -> Findings:
    wavs, lengths = padded(clips())
    heard = wavs.clone()
    with torch.no_grad():
        given = [(state, state.clone()) for state in up.states(wavs, lengths)]
    same = torch.equal(wavs, heard) and all(torch.equal(a, b) for a, b in given)
    yield same, "audio and states stay as they are while later states are computed"


def lazy(up: Upstream) -> Findings:
    depth = up.card.depth
    counts = [_calls(up, 1), _calls(up, min(2, depth + 1)), _calls(up, depth + 1)]
    if counts[-1] == 0:
        yield True, "laziness cannot be seen: it calls no torch modules"
        return
    if not up.card.stepped:
        said = "all depths are computed for the first one, as the card says"
        yield counts[0] == counts[-1], f"{said} (modules called for state 0 and all: {counts[::2]})"
        return
    grows = counts[0] <= counts[1] < counts[2] or depth == 1
    said = "depths not asked for are not computed"
    yield grows, f"{said} (modules called for states 0, 0..1 and all: {counts})"


def compaction(up: Upstream) -> Findings:
    if up.card.depth == 0:
        return  # there is nothing to go on to
    wavs, lengths = padded([noise(1.0, 1), noise(1.3, 2), noise(0.7, 3)])
    rows, at = torch.tensor([2, 0]), max(1, up.card.depth // 2)
    whole = states_of(up, wavs, lengths)
    with torch.no_grad():
        walk = up.states(wavs, lengths)
        next(walk)
        for _ in range(at):
            walk.send(None)
        rest = [walk.send(rows), *walk] if at < up.card.depth else []
    frames, worst = up.frames(lengths)[rows], 0.0
    for state, reference in zip(rest, whole[at + 1 :], strict=True):
        for row, source in enumerate(rows.tolist()):
            valid = slice(int(frames[row]))
            worst = max(worst, relative_difference(state[row, valid], reference[source, valid]))
    said = "rows sent in go on alone with unchanged states"
    yield worst < TOLERANCE, f"{said} (largest relative difference {worst:.1e})"


def short_and_long(up: Upstream) -> Findings:
    for seconds in (0.05, 30.0):
        state = states_of(up, noise(seconds))[-1]
        works = state.shape[1] >= 1 and bool(torch.isfinite(state).all())
        yield works, f"{seconds:g} s of audio works ({state.shape[1]} frames)"


def costs(up: Upstream) -> Findings:
    counts = [up.macs(5 * SAMPLE_RATE, k) for k in range(up.card.depth + 1)]
    seen = f"{counts[0]:,} to {counts[-1]:,} for 5 s"
    if not up.card.stepped:
        same = len(set(counts)) == 1 and counts[0] >= 0
        yield same, f"macs() is the same at every depth: all are computed ({seen})"
        return
    grows = all(b > a > 0 for a, b in pairwise(counts))
    yield grows, f"macs() grows with depth and starts above 0 ({seen})"


def scales(up: Upstream) -> Findings:
    states = [state[0] for state in states_of(up, noise(10.0))]  # (T, D) each
    norms = " ".join(f"{float(state.norm(dim=-1).mean()):.3g}" for state in states)
    yield True, f"mean norm of a frame at depth 0, 1, ..., on noise: {norms}"
    variance = torch.stack([state.var(0, correction=0).sum() for state in states])
    share, loudest = (variance / variance.sum()).max(0)
    if share > DROWNS and len(states) > 1:
        yield Finding(
            True,
            f"depth {int(loudest)} has {100 * float(share):.1f} % of the variance of all states: "
            "in a weighted sum of states as they are it drowns the others, so that rows without "
            "layer-norm are about it alone, unless the protocol has standardise_states",
            warning=True,
        )


def backbone(up: Upstream) -> Findings:
    base = up.backbone  # what full-depth and fixed-depth rows are named after
    if base is up:
        return
    pairs = zip(states_of(up, noise(1.0)), states_of(base, noise(1.0)), strict=True)
    same = all(torch.equal(a, b) for a, b in pairs) and base.card.stride == up.card.stride
    yield same, f"its backbone, {base.card.name}, gives the same states"
    named = base.card.name != up.card.name
    yield named, f"its backbone has a name of its own, {base.card.name}"


CHECKS = (
    *(card, finite, deterministic, padding, writes_nothing, lazy, compaction),
    *(short_and_long, scales, costs, backbone),
)


def _frames(up: Upstream, samples: int) -> int:
    return int(up.frames(torch.tensor([samples]))[0])


@torch.no_grad()
def _calls(up: Upstream, take: int) -> int:
    """How often modules are called until so many states are yielded."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    hooks = [module.register_forward_hook(count) for module in up.modules()]
    walk = up.states(noise(0.5), torch.tensor([SAMPLE_RATE // 2]))
    for _ in range(take):
        next(walk)
    walk.close()
    for hook in hooks:
        hook.remove()
    return calls
