"""One update of each recogniser by its publication's recipe, at its published size: from random
weights to a file that its class reads, and an early exit of it.
"""

import json
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.contract import TrainingRun
from earlyexit_superb.benchmark.engine.training_start import named, trainable
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from helpers.spelling import said, transcribed

# millions; with 32 characters, where a Conformer's publication has word pieces
PARAMETERS = {
    "hubert_ee.base": 115.7,
    "wav2vec2_ctc.base": 94.5,
    "zaiem.large": 328.4,
    "conformer_ctc.base": 31.2,
    "conformer_aed.base": 20.3,
}
FINETUNED = ("hubert_ee.base", "wav2vec2_ctc.base", "zaiem.large")


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_one_update_by_the_published_recipe(name, tmp_path):
    training = trainable(name)[1]
    short = {"steps": 1, "every": 1, "batch": 2, "seconds": 0.0, "accumulate": 1, "dev_limit": 1}
    recipe = replace(training.presets["paper"], **short, alphabet="characters", most=0)
    options = {"weights": "random"} if name in FINETUNED else {}
    options |= {"branch": "paper"} if name == "hubert_ee.base" else {}
    run = TrainingRun(name, named(name)[1], options, tmp_path, tmp_path / name)
    training.train(recipe, transcribed(train=4, dev=1), run)
    card = json.loads(run.weights.with_suffix(".json").read_text())
    assert round(card["parameters"] / 1e6, 1) == PARAMETERS[name]
    assert card["kept"]["joint"]["step"] == 1 and card["skipped"] == {"joint": [0, 0]}
    up = build_upstream(name, options | {"weights": str(run.weights)}).eval()
    assert up.card.revision == card["revision"] and list(leaving(up)) == card["exits"]
    wav = said("ABC CAB ABC")[None]
    left = run_until_exit(up, wav, torch.tensor([wav.shape[1]]), Exit(leaving(up), 1e6))
    assert left.depth.tolist() == [up.exits[0]] == [len(left.walked) - 1]
    assert isinstance(up.decode(left.answers[0], "asr"), str)
