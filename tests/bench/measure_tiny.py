"""Measure what the shipped models show, and write it into daisy.tiny's card: python
tests/bench/measure_tiny.py [LibriSpeech NOISE]

Branch entropy by depth on the built-in corpus (clean and noisy, each split) and, when folders of
real recordings are named, on LibriSpeech speakers that no training has heard (splits.csv: dev and
test), clean and at three SNRs. For each: a straight line's R2, the first-to-last ratio, and the
mean exit at three rhos with tau from the same kind of speech of other speakers.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.audio_tree import audio_files
from earlyexit_superb.benchmark.calibration import midpoint
from earlyexit_superb.benchmark.exiting import Exit, replay
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from earlyexit_superb.tasks.corpora.noise import mix

CARD = Path(__file__).parents[2] / "upstreams" / "daisy.tiny.json"
RHOS = (0.7, 0.85, 1.0)


@torch.no_grad()
def evidence(daisy, wavs) -> np.ndarray:
    rows = []
    for wav in wavs:
        wav, length = torch.from_numpy(wav)[None], torch.tensor([len(wav)])
        states, frames = list(daisy.states(wav, length)), daisy.frames(length)
        rows.append(
            torch.cat(
                [daisy.evidence(k, states[k], states[k - 1], frames) for k in range(1, len(states))]
            ).numpy()
        )
    return np.stack(rows)


def line(means: np.ndarray) -> float:
    """R2 of the straight line through (depth, mean entropy)."""
    depth = np.arange(1, len(means) + 1)
    return float(1 - (means - np.polyval(np.polyfit(depth, means, 1), depth)).var() / means.var())


def summary(measured: np.ndarray, calibration: np.ndarray) -> dict:
    means, depths = measured.astype(float).mean(0), range(1, measured.shape[1] + 1)
    return {
        "utterances": len(measured),
        "entropy_nats_by_depth": [round(float(m), 4) for m in means],
        "line_r2": round(line(means), 4),
        "first_to_last": round(float(means[0] / means[-1]), 3),
        "mean_exit": {
            f"{rho:g}": round(
                float(replay(measured, Exit(depths, midpoint(calibration, rho))).mean()), 2
            )
            for rho in RHOS
        },
    }


def main() -> None:
    torch.set_num_threads(1)  # as it is recorded: several would wait for each other
    daisy, out = build_upstream("daisy.tiny"), {}
    se = tasks.get("se")
    splits = se.corpus(None, se.protocols["mini"]).splits
    clean = {
        s: evidence(daisy, (read(i.more["clean"]) for i in items)) for s, items in splits.items()
    }
    noisy = {s: evidence(daisy, (read(i.path) for i in items)) for s, items in splits.items()}
    for split in splits:
        out[f"mini, clean, {split}"] = summary(clean[split], clean["train"])
        out[f"mini, noisy, {split}"] = summary(noisy[split], noisy["train"])
    if len(sys.argv) == 3:
        root, noises = Path(sys.argv[1]), [read(p) for p in sorted(audio_files(Path(sys.argv[2])))]
        rows = list(csv.DictReader((root / "splits.csv").read_text().splitlines()))
        files = {
            s: [root.parent / r["path"] for r in rows if r["asr_split_speaker_disjoint"] == s]
            for s in ("train", "dev", "test")
        }
        train = evidence(daisy, (read(p) for p in files["train"][::4]))
        heard = [read(p) for p in files["dev"] + files["test"]]
        out["LibriSpeech, clean, unseen speakers"] = summary(evidence(daisy, heard), train)
        for snr in (10, 5, 0):
            rng = np.random.default_rng(snr)
            mixed = (
                mix(wav, noises[rng.integers(len(noises))], snr, rng).noisy.astype(np.float32)
                for wav in heard
            )
            out[f"LibriSpeech, {snr} dB, unseen speakers"] = summary(evidence(daisy, mixed), train)
    for name, found in out.items():
        print(
            f"{name:38} n {found['utterances']:4}  ratio {found['first_to_last']:5.2f}  R2 "
            f"{found['line_r2']:.3f}  exit at rho "
            + ", ".join(f"{rho}: {depth}" for rho, depth in found["mean_exit"].items())
            + "  entropy "
            + " ".join(f"{e:.2f}" for e in found["entropy_nats_by_depth"])
        )
    card = json.loads(CARD.read_text())
    card["measured"] = out
    CARD.write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
