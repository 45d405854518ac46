"""What the recognisers have in common whose encoder learns with their heads, from nothing: the
early-exit Conformers of Wright et al. (2023).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice, product
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, ClassVar

from torch import nn

from ...benchmark.errors import UsageError, did_you_mean
from ...benchmark.registry import spelled
from ..backbones.conformer_shape import FEATURES, ConformerShape
from ..backbones.conformer_trunk import ConformerTrunk
from .alphabet import CHARACTERS, SPACE, Alphabet
from .bpe import alphabet_of
from .recogniser import Recogniser
from .weights import described, fill, origin, read

EVERY = 2  # blocks an exit
HEADS = ("separate", "tied")  # one an exit as in the paper, or one for all
RANDOM = "random"  # as weights
Bank = Callable[[Alphabet], nn.ModuleDict]  # heads by depth as text, random


class FromScratch(Recogniser):
    """
    Args:
        tag: one of `shapes`.
        weights: what a training of it wrote; "" = the shipped ones of the tag, "random" = random
            ones, which a training begins with.
        criterion: as `criteria.criterion` takes it.
        alphabet: a name or a sentencepiece model, as `bpe.alphabet_of` takes it; "" = the file's,
            or else the tag's.
        seed: of random weights.
        shape: of the encoder; bank: makes the heads.
    Attributes:
        called, paper: the plug-in's name, the source.
        shapes: of the encoder, by tag.
        pieces: by tag, of how many word pieces its publication's alphabet was, which nobody has
            published: random weights write with `numbered` ones. Other tags: with characters.
        shipped: by tag, where its weights are.
        own: options of a subclass, as `spelled` takes them; set before `__init__`.
        described: what a weights file of it must say.
    """

    called: ClassVar[str]
    paper: ClassVar[str]
    shapes: ClassVar[Mapping[str, ConformerShape]]
    pieces: ClassVar[Mapping[str, int]] = MappingProxyType({})
    shipped: ClassVar[Mapping[str, str]] = MappingProxyType({})
    own: Mapping[str, tuple[Any, Any]] = MappingProxyType({})
    stand_in = {"weights": RANDOM}
    divides = True

    def __init__(
        self,
        tag: str,
        weights: str,
        criterion: str,
        alphabet: str,
        seed: int,
        shape: ConformerShape,
        bank: Bank,
    ):
        words = self.word_model.options(type(self).word_model, self.called)
        weights = weights or self._usual(tag)
        stored = None if weights == RANDOM else read(weights, self.called)
        letters = self._letters(tag, alphabet, stored.alphabet if stored else None)
        trunk, heads = ConformerTrunk(shape, f"conformer.{tag}", seed), bank(letters)
        about = described(self.called, json.loads(json.dumps(asdict(shape))), heads, letters)
        super().__init__(
            trunk,
            heads,
            letters,
            criterion,
            name=spelled(
                self.called,
                tag,
                weights=(weights, self.shipped.get(tag, "")),
                criterion=(criterion, "entropy"),
                alphabet=(alphabet, ""),
                seed=(seed, 0),
                **self.own,
                **words,
            ),
            revision=fill(stored, about, trunk, heads) if stored else f"random-{seed}",
            source=self.paper,
            **origin(stored),
        )
        self.described = about

    @classmethod
    def shape_of(cls, tag: str) -> ConformerShape:
        if tag not in cls.shapes:
            raise UsageError(f"{cls.called} has no tag {tag!r}: {did_you_mean(tag, cls.shapes)}")
        return cls.shapes[tag]

    def _usual(self, tag: str) -> str:
        """What `weights` is where nobody says."""
        if tag in self.shipped:
            return self.shipped[tag]
        if tag == "tiny":
            return RANDOM
        raise UsageError(
            f"there are no trained weights of {self.called}.{tag} at any known place; train them "
            f"(run_benchmark.py train {self.called}.{tag} --task asr --data DIR --out DIR) and name"
            " the file with --set weights=FILE, or look at random ones with --set weights=random"
        )

    def _letters(self, tag: str, asked: str, stored: Alphabet | None) -> Alphabet:
        if asked:
            return alphabet_of(asked)
        if stored:
            return stored
        return numbered(self.pieces[tag]) if tag in self.pieces else CHARACTERS


def features_of(features: str, who: str) -> str:
    """`features`; UsageError where an encoder knows no such."""
    if features not in FEATURES:
        raise UsageError(f"{who}: features {features!r}: {did_you_mean(features, FEATURES)}")
    return features


def tied_of(head: str, who: str) -> bool:
    """Whether all heads are one; UsageError where `head` is not one of HEADS."""
    if head not in HEADS:
        raise UsageError(f"{who}: head is {' or '.join(HEADS)}, not {head!r}")
    return head == "tied"


def places_of(single: int, last: int, who: str) -> tuple[int, ...]:
    """The depths with a head: every second one, or the end of a model with `single` blocks."""
    if not 0 <= single <= last:
        raise UsageError(f"{who}: single is 1 to {last} blocks, or 0, not {single}")
    return (single,) if single else tuple(range(EVERY, last + 1, EVERY))


def numbered(size: int) -> Alphabet:
    """So many word pieces, A to ZZZ, in the place of published ones that are not to be had."""
    every = (product(ascii_uppercase, repeat=count) for count in (1, 2, 3))
    pieces = islice((SPACE + "".join(letters) for group in every for letters in group), size - 1)
    return Alphabet(("<blank>", *pieces), 0, None, f"{size} numbered pieces")
