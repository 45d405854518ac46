"""Recognisers on a device: what they hear, how sure they are and what they write is what a CPU
says, and one is tuned there.
"""

import json

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.training import recognition
from helpers import wav
from helpers.recognition import record
from helpers.spelling import RECIPE, Small, run_in, said, transcribed
from torch.nn.utils.rnn import pad_sequence

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("full_precision")]
SYSTEMS = ("hubert_ee", "wav2vec2_ctc", "zaiem", "conformer_ctc", "conformer_aed")
LENGTHS = torch.tensor([16_000, 9_000, 12_345])
BATCH = pad_sequence([wav(n, seed) for seed, n in enumerate(LENGTHS.tolist())], batch_first=True)


@pytest.mark.parametrize("criterion", ["entropy", "similarity", "patience:2"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_exits_and_transcripts_are_those_of_the_cpu(name, criterion, device):
    options = {"criterion": criterion}
    options |= {} if name.startswith("conformer") else {"weights": "random"}
    here = build_upstream(name, options)
    there = build_upstream(name, options).to(device)
    evidence, answers, states = recorded(here)
    also, _ = record(there, BATCH.to(device), LENGTHS)
    np.testing.assert_allclose(also, evidence, atol=1e-3, rtol=1e-3)
    tau = float(np.median(evidence)) + 1e-6
    exit = Exit(leaving(here), tau, here.patience(here.knob_values[0]))
    left = replay(also, exit, here.exits).tolist()
    live = run_until_exit(there, BATCH.to(device), LENGTHS, exit)
    assert live.depth.tolist() == left
    for row, depth in enumerate(left):
        told = there.decode(live.answers[row], "asr")
        assert isinstance(told, str)
        answer = live.answers[row].cpu()
        if name == "conformer_aed":  # whose symbols may part at a tie
            assert how_far_from_best(here, depth, states[depth], row, answer) < 1e-2
        else:
            torch.testing.assert_close(answer, answers[depth][row], atol=2e-3, rtol=2e-3)


def recorded(up):
    with torch.no_grad():
        return *record(up, BATCH, LENGTHS), list(up.states(BATCH, LENGTHS))


@torch.no_grad()
def how_far_from_best(up, depth, state, row, answer):
    """The most by which a symbol of a transcript is behind the best one, given those before it."""
    decoder, n = up.heads[str(depth)].decoder, int(up.frames(LENGTHS)[row])
    ends = torch.tensor([decoder.end])
    written = torch.cat([ends, answer])[None]
    scores = decoder(written, state[row, None, :n], torch.tensor([n]))[0]
    wanted = torch.cat([answer, ends])[: min(len(answer) + 1, n)]  # at most one symbol a frame
    chosen = scores[: len(wanted)].gather(1, wanted[:, None])[:, 0]
    return float((scores[: len(wanted)].max(1).values - chosen).max())


def test_it_is_tuned_there_and_answers_here(device, tmp_path):
    run = run_in(tmp_path, device=device)
    recognition.train(RECIPE, transcribed(), run, Small, "pretrained")
    card = json.loads(run.weights.with_suffix(".json").read_text())
    assert card["last_look"]["joint"]["step"] == RECIPE.steps
    assert np.isfinite(card["last_look"]["joint"]["dev_loss"])
    up = Small(weights=str(run.weights)).eval()
    sound = said("ABC")[None]
    left = run_until_exit(up, sound, torch.tensor([sound.shape[1]]), Exit(leaving(up), 99.0))
    assert isinstance(up.decode(left.answers[0], "asr"), str)
