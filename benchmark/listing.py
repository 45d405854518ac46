"""What an upstream is, as far as its class and its card say so: no weights are downloaded.

The card is that of the upstream at its defaults; where those weights are not on this machine, that
of its stand-in.
"""

import inspect
import os
import sys
from dataclasses import dataclass
from typing import Any

from .errors import BenchmarkError
from .registry import build_upstream, untrained, upstreams

HERE, RANDOM, ABSENT = "here", "random", "absent"


@dataclass(frozen=True)
class Entry:
    """One registered upstream.

    Attributes:
        about: the first paragraph of its module.
        source, kind, tuned_on, stepped: as `UpstreamCard` has them; the first two are "" and the
            last None where nothing could be built.
        knob: by which it exits by itself; "" = it does not.
        weights: HERE, RANDOM or ABSENT, at its defaults.
        unavailable: why it cannot be used here, or "".
    """

    name: str
    about: str = ""
    source: str = ""
    kind: str = ""
    tuned_on: str = ""
    stepped: bool | None = None
    knob: str = ""
    weights: str = ABSENT
    unavailable: str = ""


def entry(name: str) -> Entry:
    """One broken plug-in never hides the others."""
    offline()
    if why := upstreams.probe(name):
        return Entry(name, unavailable=why)
    cls, built, why = upstreams.get(name), None, ""
    for options in ({}, dict(cls.stand_in)):
        try:
            built = build_upstream(name, options)
            break
        except BenchmarkError as error:
            why = why or str(error)
        except Exception as error:  # a plug-in may fail in any way
            return Entry(name, _about(cls), unavailable=f"{type(error).__name__}: {error}")
    if built is None:
        return Entry(name, _about(cls), knob=cls.knob or "", unavailable=why)
    card = built.card
    return Entry(
        name,
        about=_about(cls),
        source=card.source,
        kind=card.kind,
        tuned_on=card.tuned_on,
        stepped=card.stepped,
        knob=built.knob or "",
        weights=ABSENT if why else RANDOM if untrained(card.revision) else HERE,
    )


def offline() -> None:
    """From now on the Hugging Face hub is not asked, unless the user's environment says so: it must
    be said before anything imports its packages."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _about(cls: Any) -> str:
    text = inspect.getdoc(sys.modules[cls.__module__]) or ""
    return text.partition("\n\n")[0].replace("\n", " ")
