"""Anybody's speech and noise into a VoiceBank-DEMAND-shaped corpus: `run_benchmark.py data noisy`.

Speakers are split about 8:1:1 and so are noise recordings, so that the test set has neither a voice
nor a noise of the other two. Ratios are those of VoiceBank-DEMAND (15/10/5/0 dB, test
17.5/12.5/7.5/2.5 dB), here over the active part of each signal (`noise.py`). The same folders,
seed and limit give the same bytes.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...benchmark.audio import read
from ...benchmark.audio_tree import name_of
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError
from .entry import SPLITS
from .noisy_pairs import SNRS, Part, write_voicebank
from .recordings import (
    LONGEST,
    SHORTEST,
    fingerprint,
    limited,
    noise_recordings,
    shares,
    utterances,
)

VERSION = 1  # of this recipe; another where its bytes change

README = """Noisy speech in the layout of VoiceBank-DEMAND, made by earlyexit-superb:
run_benchmark.py data noisy {how}
{has}; no speaker and no noise recording is in two splits.
Ratios (dB, over active frames of 20 ms) and sources are in splits.csv. The licences of the \
recordings still hold.
recipe: {version}
{request}"""


def make_noisy(
    speech: Path, noise: Path, out: Path, seed: int = 0, limit: int | None = None
) -> dict:
    """Mix the recordings below `speech` with those below `noise` into the new folder `out`.

    Args:
        limit: about so many utterances in all, drawn by `seed`; None = all of 1 to 10 s.

    Returns:
        "message" in words, "made" (False: the same corpus was there already), numbers of "train",
        "dev", "test" utterances, "speakers", "noises", "skipped" (too short or too long), and if
        made "seconds" and "snr_error" (dB, the largest).

    Raises:
        UsageError: too few speakers or noises, or a folder that holds something else.
    """
    speech, noise, out = Path(speech), Path(noise), Path(out)
    _check_request(speech, noise, out, limit)
    spoken, skipped = utterances(speech)
    noises = noise_recordings(noise)
    speakers = shares(spoken, "speakers", speech, seed)
    sounds = shares(noises, "noise recordings", noise, seed)
    chosen = {
        split: [(who, path) for who in speakers[split] for path in spoken[who]] for split in SPLITS
    }
    chosen = limited(chosen, limit, seed)
    request = f"request: {fingerprint([VERSION, seed, limit], spoken, noises)}\n"
    counts = {split: len(files) for split, files in chosen.items()}
    of = {"speakers": len(spoken), "noises": len(noises), "skipped": skipped}
    summary = {"made": True, **counts, **of}
    if _is_made(out, request):
        message = f"{out} holds this corpus already; nothing was done"
        return summary | {"made": False, "message": message}
    has = (
        f"{counts['train']} training, {counts['dev']} development and {counts['test']} test "
        f"utterances by {len(spoken)} speakers, with {len(noises)} noise recordings"
    )
    how = f"--speech {name_of(speech)} --noise {name_of(noise)} --seed {seed}"
    how += f" --limit {limit}" if limit else ""
    readme = README.format(has=has, how=how, version=VERSION, request=request)
    parts = _parts(chosen, sounds, noises, speech, noise, seed)
    made = write_voicebank(out, parts, sum(counts.values()), readme, seed)
    seconds = made["samples"] / SAMPLE_RATE
    return summary | {
        "seconds": seconds,
        "snr_error": made["snr_error"],
        "message": (
            f"made {out}: {has}, {seconds / 3600:.2f} h, ratios within {made['snr_error']:.3f} dB; "
            f"{skipped} utterances shorter than {SHORTEST:g} s or longer than {LONGEST:g} s were "
            "left out"
        ),
    }


def _check_request(speech: Path, noise: Path, out: Path, limit: int | None) -> None:
    for source in (speech, noise):
        if source.resolve() in (out.resolve(), *out.resolve().parents):
            raise UsageError(
                f"the new folder {out} would lie among its own sources in {source}; choose another "
                "--out"
            )
    if limit is not None and limit < 3:
        raise UsageError(
            f"--limit {limit} leaves no utterance for one of train, dev and test; ask for at least "
            "3"
        )


def _is_made(out: Path, request: str) -> bool:
    """Whether `out` holds what is requested; UsageError where it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    readme = out / "README.txt"
    if not readme.is_file() or request not in readme.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(
            f"{out} exists and is not what this command makes (other recordings, seed or limit); "
            f"choose another --out, or remove it: rm -r {out}"
        )
    return True


def _parts(
    chosen: dict, sounds: dict, noises: dict, speech: Path, noise: Path, seed: int
) -> Iterator[Part]:
    for split in SPLITS:
        rng = random.Random(f"parts-{seed}-{split}")
        # ratios in turn, but not by speaker
        order = rng.sample(range(len(chosen[split])), len(chosen[split]))
        count: dict[str, int] = defaultdict(int)
        for place, (speaker, path) in zip(order, chosen[split], strict=True):
            # every recording as often, however many cuts it has
            clip = rng.choice(noises[rng.choice(sounds[split])])
            count[speaker] += 1
            letters = re.sub(r"[\W_]", "", speaker) or "speaker"
            name = f"{letters}_{count[speaker]:03d}.wav"
            yield Part(
                split,
                name,
                speaker,
                clip.relative_to(noise).as_posix(),
                SNRS[split][place % len(SNRS[split])],
                path.relative_to(speech).as_posix(),
                read(path),
                read(clip),
            )
