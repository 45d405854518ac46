"""Upstreams of any stride: enhancement and separation repeat or interpolate frames and say so,
recognition asks for frames, or for several scores a frame.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.engine.run import results
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks.corpora import entry, manifest
from helpers import TOY
from toys.toy import Toy, at

SPELLING = {"join": "1", "outputs": "2", "layers": "1", "bucket": "0"}
FEW = {"steps": "4", "eval_every": "2", "batch": "3", "hidden": "8"}


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list that can serve separation and recognition: tones as talkers, and the same
    short words everywhere.
    """
    root, rng, entries = tmp_path_factory.mktemp("strides"), np.random.default_rng(0), []
    for split, count in (("train", 6), ("dev", 2), ("test", 3)):
        for i in range(count):
            n = 12_000 + 1_600 * i
            talkers = [
                0.1 * np.sin(2 * np.pi * hz * np.arange(n) / 16_000) * (rng.random(n) > 0.2)
                for hz in (200 + 10 * i, 900)
            ]
            names = [root / f"{split}{i}{part}.wav" for part in ("", "a", "b")]
            for path, wav in zip(names, [sum(talkers), *talkers], strict=True):
                audio.write(path, wav.astype(np.float32))
            entries.append(
                entry.of_file(f"{split}{i}", split, names[0], "s", "TWO WORDS", tuple(names[1:]))
            )
    for task, keep in (("asr", ()), ("ss", None)):
        (root / task).mkdir()
        manifest.write(
            root / task / "manifest.csv",
            [e if keep is None else replace(e, references=keep) for e in entries],
        )
    return root


@pytest.mark.parametrize("stride", [960, 1280])
@pytest.mark.parametrize("task", ["se", "ss", "asr"])
def test_rows_of_a_long_stride(task, stride, corpus, listed, tmp_path, own_cache):
    settings = FEW | {
        "stride": str(stride),
        **(SPELLING if task == "asr" else {}),
    }
    data = corpus if task == "se" else listed / task
    run = resolve(
        RunConfig(
            TOY, task, data=data, protocol="mini", results=tmp_path / "results", settings=settings
        )
    )
    made, refused = results(run)
    assert not refused and len(made) == len(run.rows)
    said = (
        []
        if task == "asr"
        else [
            f"feature frames every {stride} samples, each read {stride // 320} times for an STFT "
            "with a hop of 320"
        ]
    )
    for path in (row.path for row in run.rows if row.cell.exit == "full"):
        assert json.loads(path.read_text())["detail"]["notices"] == said
    assert f"toy(stride={stride})" in {r.cell.upstream for r in made}


@pytest.mark.parametrize("task", ["se", "ss"])
def test_a_stride_that_is_no_whole_part_is_interpolated(task, listed):
    """From features to a gradient and a score, where spectra and frames share no grid."""
    task = tasks.get(task)
    setup = at(replace(task.protocols["mini"], hop=320, hidden=8), dim=16, stride=480)
    assert task.notices(setup) == [
        "feature frames every 480 samples, interpolated for an STFT with a hop of 320"
    ]
    example = tasks.get("ss").load(
        tasks.get("ss").corpus(listed / "ss", tasks.get("ss").protocols["mini"]).splits["test"][0]
    )
    example = replace(example, target=example.target[0]) if task.name == "se" else example
    toy, n = Toy(stride=480), len(example.wav)
    frames, head = toy.frames(torch.tensor([n])), task.head(setup)
    prediction = head(
        next(toy.states(example.wav[None], torch.tensor([n]))).detach(), frames, torch.tensor([n])
    )
    task.loss(prediction, [example], frames, setup).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    assert all(
        isinstance(v, float)
        for v in task.score(prediction[0], example, int(frames), setup).values()
    )


def test_a_target_that_a_stride_leaves_no_room_for_is_refused_before_anything_is_spent(
    listed, tmp_path, own_cache
):
    """TWO WORDS takes 11 symbols; 0.75 s have 10 frames of 80 ms."""
    config = RunConfig(
        TOY,
        "asr",
        data=listed / "asr",
        protocol="mini",
        results=tmp_path / "results",
        settings=FEW | SPELLING | {"stride": "1280", "outputs": "1"},
    )
    frames = int(Toy(stride=1280).frames(torch.tensor([12_000]))[0])
    with pytest.raises(
        UsageError,
        match=f"train0: CTC needs 11 frames for its transcript and its 0.75 s have {frames}",
    ) as said:
        resolve(config)
    assert "\n" not in str(said.value) and not list(own_cache.glob("*"))
    assert "(--set outputs=2 makes every frame give 2)" in str(said.value)


@pytest.mark.parametrize(
    ("stride", "join", "said"),
    [
        (640, 2, "have 9 (19 read 2 at a time; --set join=1 reads each)"),
        (1280, 2, "have 5 (10 read 2 at a time; --set join=1 outputs=2 makes every frame give 2)"),
        (1280, 1, "have 10 (--set outputs=2 makes every frame give 2)"),
        (4800, 1, "have 3 (--set outputs=4 makes every frame give 4)"),
        (6000, 1, "have 2"),  # so little audio has another transcript
    ],
)
def test_the_sentence_names_all_that_makes_room(listed, stride, join, said):
    asr = tasks.get("asr")
    protocol = replace(asr.protocols["mini"], join=join)
    corpus, frames = asr.corpus(listed / "asr", protocol), Toy(stride=stride).frames
    [first] = [s for s in asr.check(corpus, protocol, frames) if s.startswith("train0:")]
    assert first.endswith(said)
    outputs = 2 if stride == 1280 else 6
    room = replace(protocol, join=1, outputs=outputs)
    assert not list(asr.check(corpus, room, frames))
