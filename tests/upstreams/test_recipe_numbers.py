"""The recipes of publications, number by number, as their papers and code state them.

What is stated in epochs is counted here from the utterances of LibriSpeech.
"""

import math

import pytest
from earlyexit_superb.upstreams.training import recognition_presets as presets

WHOLE, CLEAN_100 = 281_241, 28_539  # utterances of 960 hours and of train-clean-100
FROZEN = {"front": 0.0, "best": "last", "precision": "bf16", "kd": 0.0}


def epochs(count, utterances, batch):
    return {"steps": count * math.ceil(utterances / batch)}


def rates(optimiser, lr, head_lr, *betas):
    told = {"optimiser": optimiser, "lr": lr, "head_lr": head_lr}
    return told | ({"betas": betas} if betas else {})


FAIRSEQ = {"lambda_": 1.0, "per": "utterance", "ctc": 1.0, "eps": 1e-8, "clip": 0.0, **FROZEN}
FAIRSEQ |= {"layerdrop": 0.1, "activation_dropout": 0.1, "mask_width": 10, "mask_least": 2}
FAIRSEQ |= {"channel_width": 64, "schedule": "tri_stage", "floor": 0.05, "dropout": 0.0}
FINE = {"per": "batch", "clip": 1.0, "weight_decay": 0.01, "decayed": "weights", **FROZEN}
FINE |= {"schedule": "linear", "warmup": 0, "dropout": 0.1, "attention_dropout": 0.1}
FINE |= {"mask_prob": 0.05, "mask_width": 10, "mask_least": 2, "channel_prob": 0.0, "eps": 1e-8}
BRAIN = {"per": "symbol", "alphabet": "letters", "clip": 5.0, "schedule": "newbob", **FROZEN}
BRAIN |= {"annealing": 0.9, "head_annealing": 0.8, "improvement": 0.0025, "order": "ascending"}
BRAIN |= {"layerdrop": 0.0, "mask_prob": 0.0, "speeds": (1.0,), "chunks": 0}
FIRST_STEP = BRAIN | rates("adam", 1e-4, 0.9) | {"head_optimiser": "adadelta", "rho": 0.95}
SHORTENED = FIRST_STEP | {"strategy": "joint", "batch": 6, "second_steps": 0}
FROM_SCRATCH = {"schedule": "noam", "betas": (0.9, 0.98), "eps": 1e-9, "freeze": 0}

STATED = {
    # 8 GPUs of 3,200,000 samples; a tenth of the updates up, four tenths at the peak
    ("HUBERT_EE", "paper"): FAIRSEQ
    | rates("adam", 1e-5, 1e-5, 0.9, 0.98)
    | {"strategy": "joint", "steps": 320_000, "warmup": 32_000, "hold": 128_000}
    | {"decay": 160_000, "mask_prob": 0.5, "channel_prob": 0.1, "freeze": 0}
    | {"seconds": 3_200_000 / 16_000, "accumulate": 8},
    ("HUBERT_EE", "paper-10h"): FAIRSEQ
    | rates("adam", 2e-5, 2e-5, 0.9, 0.98)
    | {"steps": 25_000, "warmup": 8000, "hold": 0, "decay": 72_000, "freeze": 10_000}
    | {"mask_prob": 0.75, "channel_prob": 0.5, "accumulate": 1, "seconds": 200.0},
    ("WAV2VEC2_CTC", "paper"): FINE
    | epochs(50, WHOLE, 6)
    | rates("adamw", 2e-5, 2e-5, 0.9, 0.999)
    | {"batch": 6, "projection_dropout": 0.1, "activation_dropout": 0.0, "layerdrop": 0.0},
    ("WAV2VEC2_CTC", "paper-single"): FINE
    | epochs(40, WHOLE, 16)
    | rates("adamw", 2e-5, 2e-5, 0.9, 0.999)
    | {"batch": 16, "projection_dropout": 0.0, "activation_dropout": 0.1, "layerdrop": 0.1},
    ("ZAIEM", "paper"): BRAIN
    | epochs(20, CLEAN_100, 2)
    | rates("adam", 1e-4, 2e-4, 0.9, 0.999)
    | {"strategy": "joint", "batch": 2, "head_optimiser": ""},
    ("ZAIEM", "paper-two-stage"): FIRST_STEP
    | epochs(10, CLEAN_100, 3)
    | {"strategy": "two_stage", "batch": 3, "second_steps": 19 * 9513, "second_lr": 2e-4}
    | {"second_optimiser": "adam", "second_last": True},
    ("ZAIEM", "paper-removal"): FIRST_STEP
    | epochs(10, CLEAN_100, 3)
    | {"strategy": "joint", "batch": 3, "second_steps": 0, "second_last": False},
    ("ZAIEM", "paper-downsampling"): SHORTENED | epochs(15, CLEAN_100, 6),
    ("ZAIEM", "paper-downsampling-10"): SHORTENED | epochs(10, CLEAN_100, 6),
    ("ZAIEM", "paper-downsampling-12"): SHORTENED | epochs(12, CLEAN_100, 6),
    ("ZAIEM", "paper-downsampling-25"): SHORTENED | epochs(25, CLEAN_100, 6),
    # batches of 64 in four, an update each
    ("CONFORMER_CTC", "paper"): FROM_SCRATCH
    | rates("adamw", 1.0, 1.0)
    | {"steps": 100 * 4 * math.ceil(WHOLE / 64), "warmup": 4 * math.ceil(WHOLE / 64)}
    | {"batch": 64 // 4, "most": 359, "weight_decay": 5e-4, "clip": 1.0, "width": 256}
    | {"alphabet": "bpe:256", "per": "symbol", "ctc": 1.0, "lambda_": 1.0, "mask_prob": 0.0},
    ("CONFORMER_AED", "paper"): FROM_SCRATCH
    | rates("adam", 1e-3, 1e-3)
    | {"steps": 110 * (WHOLE // 128), "warmup": 25_000, "width": 0, "clip": 5.0, "ctc": 0.3}
    | {"alphabet": "bpe:5000", "per": "utterance", "speeds": (0.95, 1.0, 1.05)}
    | {"batch": 16, "accumulate": 128 // 16},
}


def test_every_preset_of_a_publication_is_here():
    every = {
        (name, preset)
        for name in ("HUBERT_EE", "WAV2VEC2_CTC", "ZAIEM", "CONFORMER_CTC", "CONFORMER_AED")
        for preset in getattr(presets, name)
    }
    assert every - {key for key in every if key[1] == "tiny"} == set(STATED)


@pytest.mark.parametrize("key", STATED, ids="-".join)
def test_it_has_the_numbers_of_its_publication(key):
    recipe, stated = getattr(presets, key[0])[key[1]], STATED[key]
    assert {name: getattr(recipe, name) for name in stated} == stated
    if recipe.batch and not recipe.seconds and recipe.accumulate == 1:  # a look an epoch
        assert recipe.steps % recipe.every == 0


def test_every_line_of_the_poster_trains_as_long_as_its_own_file():
    from earlyexit_superb.benchmark.report.papers.zaiem import DOWNSAMPLED

    of = {line.label: presets.ZAIEM[line.training.preset].steps for line in DOWNSAMPLED}
    hours = {"CL2": 12, "CL3": 15, "CL4": 25, "AV2": 10, "AV3": 10, "AV4": 25}
    hours |= {"SD2": 10, "SD3": 10, "SD4": 25}
    assert of == {label: count * math.ceil(CLEAN_100 / 6) for label, count in hours.items()}
