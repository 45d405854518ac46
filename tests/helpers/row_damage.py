"""Damage of a row's JSON or of its utterances' table, at random."""

import json
import random

from hypothesis import HealthCheck
from hypothesis import strategies as st

QUICK = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
LETTERS = list(b'"{}[],:-0159eE.\n\r\0\xff\xe2 ntN')
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(["", "..", "a/b", "<script>|\n\u2028", "x" * 2000, "\ud800", "nan"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


def files(root):
    """The JSONs of a results folder's rows and their tables; a JSON comes before its table."""
    return sorted(p for p in root.glob("*/*/*/*/*.*") if p.suffix in (".json", ".csv"))


def bitten(content, seed):
    """Some bytes changed, removed, repeated or cut off."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        at, to = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        to = min(to, at + rng.choice((1, 1, 8, 500)))
        kind, other = rng.randrange(4), bytes([rng.choice(LETTERS)])
        middle = (other, b"", content[at:to] * 2, other * (to - at))[kind]
        content = content[:at] + middle + content[to:]
    return content if rng.random() < 0.8 else content[: rng.randrange(len(content) + 1)]


def changed(path, data, value):
    """A row's fields, one of them another value."""
    raw = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from([s for s in _spots(raw) if "digests" not in s]))
    of = raw
    for key in way:
        of = of[key]
    of[last] = value
    return raw


def unsealed(raw):
    """Without its digests, as an older version or a hand leaves it."""
    if isinstance(raw["detail"], dict):
        raw["detail"].pop("digests", None)
    return raw


def _spots(raw, at=()):
    """Every place of a JSON's fields."""
    inner = {}
    if isinstance(raw, dict | list):
        inner = raw.items() if isinstance(raw, dict) else enumerate(raw)
    return [at] * bool(at) + [spot for key, of in inner for spot in _spots(of, (*at, key))]
