"""What tests of the contract share."""

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark import audio


@pytest.fixture(scope="session")
def spoken(tmp_path_factory):
    """Tones that stand for words, with a list: enough for recognition to run."""
    root, rng, lines = tmp_path_factory.mktemp("spoken"), np.random.default_rng(0), []
    for split, count in (("train", 8), ("dev", 3), ("test", 5)):
        for i in range(count):
            words = [chr(ord("A") + int(k)) for k in rng.integers(8, size=2)]
            parts = [np.sin(np.arange(12_000) * (200 + 90 * ord(w)) / 16_000) for w in words]
            wav = 0.1 * np.concatenate(parts)[: int(rng.integers(20_000, 24_000))]
            path = root / split / f"{split}{i}.wav"
            audio.write(path, (wav + 0.01 * rng.standard_normal(len(wav))).astype(np.float32))
            lines.append(
                {"path": str(path), "split": split, "speaker": f"s{i}", "text": " ".join(words)}
            )
    pd.DataFrame(lines).to_csv(root / "list.csv", index=False)
    return root / "list.csv"
