"""What the recognisers on a published encoder share: HuBERT-EE, Wav2Vec2-CTC, Zaiem et al.'s.

Each is a subclass that names the encoder of a tag and the heads at its depths.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import nn

from ...benchmark.errors import UsageError, did_you_mean
from ...benchmark.registry import spelled, upstream_class, upstreams
from ..backbones.checkpoint_shape import found_shape
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import HubertShape
from ..backbones.pretrained import PretrainedEncoder
from ..backbones.shortened import Shortened
from ..backbones.waveform_filters import filter_of
from . import heads
from .alphabet import CHARACTERS, Alphabet
from .bpe import alphabet_of
from .recogniser import Recogniser
from .weights import TRUNK, Stored, described, fill, is_stored, origin, read

SMALL = "tiny"  # the tag of a backbone that names none
PRETRAINED = "pretrained"  # as weights: the published encoder under new heads


class Finetuned(Recogniser):
    """
    Args:
        tag: one of `encoders`.
        weights: what a training of it wrote; "" = the shipped ones of the tag, "random" = random
            ones; "pretrained", or a source as the encoder itself takes it (`hubert_weights.load`),
            = those weights under random heads, which a training begins with.
        criterion: as `criteria.criterion` takes it.
        alphabet: a name or a sentencepiece model, as `bpe.alphabet_of` takes it; "" = the file's,
            or else the system's.
        seed: of random weights.
        shapes: of the heads, by depth.
        tied: all heads are one.
        keep: blocks of the encoder that are left, its first ones; 0 = all.
        shorten: the filter before the encoder, which is trained with it, as
            `waveform_filters.filter_of` takes it; "" = none.
        per_frame: scores that a frame gives.
        backbone: another encoder of the project in the place of the tag's, such as a distilled one.
    Attributes:
        called, paper, letters: the plug-in's name, the source, the alphabet of its publication.
        encoders: by tag, the class whose tag of the same name is the trunk.
        shipped: by tag, where its weights are.
        raw: the last state of a pre-norm encoder is taken without its final layer norm.
        own: options of a subclass, as `spelled` takes them; set before `__init__`.
        described: what a weights file of it must say.
    """

    called: ClassVar[str]
    paper: ClassVar[str]
    letters: ClassVar[Alphabet] = CHARACTERS
    encoders: ClassVar[Mapping[str, type[PretrainedEncoder]]]
    shipped: ClassVar[Mapping[str, str]] = MappingProxyType({})
    raw: ClassVar[bool] = False
    own: Mapping[str, tuple[Any, Any]] = MappingProxyType({})
    makes_room = (
        "more scores a frame (--set per_frame=2), a smaller factor where the input is shortened"
    )
    stand_in = {"weights": "random"}

    def __init__(
        self,
        tag: str,
        weights: str,
        criterion: str,
        alphabet: str,
        seed: int,
        shapes: Mapping[int, heads.HeadShape],
        tied: bool = False,
        keep: int = 0,
        shorten: str = "",
        per_frame: int = 1,
        backbone: str = "",
    ):
        if per_frame < 1:
            raise UsageError(f"{self.called}: per_frame is at least 1 score, not {per_frame}")
        before = filter_of(shorten, self.called) if shorten else None
        words = self.word_model.options(type(self).word_model, self.called)
        weights = weights or self._usual(tag)
        stored = read(weights, self.called) if is_stored(weights) else None
        asked = alphabet_of(alphabet) if alphabet else None
        letters = asked or (stored.alphabet if stored else self.letters)
        # what a file's tensors replace is not drawn at random first
        with torch.device("meta") if stored else nullcontext():
            trunk = self._trunk(tag, weights, seed, keep, stored, backbone)
            bank = heads.new(shapes, trunk.card.dim, per_frame * len(letters), seed, tied)
        sizes = json.loads(json.dumps(asdict(trunk.net.shape)))
        more = {"shorten": shorten, "per_frame": str(per_frame) if per_frame > 1 else ""}
        more["backbone"] = backbone
        about = described(self.called, sizes, bank, letters, **more)
        trunk = Shortened(trunk, before) if before else trunk
        if stored:
            revision = fill(stored, about, trunk, bank)
        else:
            both = "" if weights == "random" else f"{trunk.card.revision}+"
            revision = f"{both}random-{seed}"
        super().__init__(
            trunk,
            bank,
            letters,
            criterion,
            name=spelled(
                self.called,
                tag,
                weights=(weights, self.shipped.get(tag, "")),
                criterion=(criterion, "entropy"),
                alphabet=(alphabet, ""),
                seed=(seed, 0),
                shorten=(shorten, ""),
                per_frame=(per_frame, 1),
                backbone=(backbone, ""),
                **self.own,
                **words,
            ),
            revision=revision,
            source=self.paper,
            **origin(stored),
            kind=trunk.card.kind,
            per_frame=per_frame,
        )
        self.described = about

    @classmethod
    def encoder_of(cls, tag: str) -> type[PretrainedEncoder]:
        if tag not in cls.encoders:
            raise UsageError(f"{cls.called} has no tag {tag!r}: {did_you_mean(tag, cls.encoders)}")
        return cls.encoders[tag]

    @classmethod
    def encoder_for(cls, tag: str, backbone: str = "") -> tuple[type[PretrainedEncoder], str]:
        """The class of the trunk and its tag. UsageError: the backbone is no such encoder."""
        own = cls.encoder_of(tag)
        if not backbone:
            return own, tag
        found = upstream_class(backbone)
        if not issubclass(found, PretrainedEncoder):
            raise UsageError(
                f"{cls.called}: {backbone} has no blocks and convolutions to tune; a backbone is a "
                "HuBERT or a relative, such as distilhubert.base8"
            )
        return found, upstreams.split(backbone)[1].get("tag", SMALL)

    @classmethod
    def blocks_of(cls, tag: str, backbone: str = "") -> int:
        """The blocks of the whole trunk."""
        found, its_tag = cls.encoder_for(tag, backbone)
        return found.depth_of(its_tag)

    def leave_out(self, rate: float, blocks: Sequence[int]) -> None:
        """Run these blocks of the trunk alone, and behind them the only head, of weights that were
        tuned with others left out at random (Fan et al., 2020)."""
        if self.exits:
            raise UsageError(
                f"{self.called}: prune leaves out blocks of a model with one exit, at its end; add "
                f"--set single={self.card.depth} prune={rate:g}, and weights that were so trained"
            )
        [head] = self.heads.values()
        self.trunk = self.trunk.with_blocks(blocks)
        self.heads = nn.ModuleDict({str(len(blocks)): head})
        self.card = replace(self.card, depth=len(blocks), kind="pruned")

    def _usual(self, tag: str) -> str:
        """What `weights` is where nobody says."""
        self.encoder_of(tag)
        if tag in self.shipped:
            return self.shipped[tag]
        if tag == "tiny":
            return "random"
        raise UsageError(
            f"there are no trained weights of {self.called}.{tag} at any known place; train them "
            f"(run_benchmark.py train {self.called}.{tag} --task asr --data DIR --out DIR) and name"
            " the file with --set weights=FILE, or look at random ones with --set weights=random"
        )

    def _trunk(
        self, tag: str, weights: str, seed: int, keep: int, stored: Stored | None, backbone: str
    ) -> PretrainedEncoder:
        """The encoder, without the head that its pre-training had; of the sizes that a file
        states."""
        cls, its_tag = self.encoder_for(tag, backbone)
        residual = self.raw and cls.shape_of(its_tag).pre_norm
        source = "random" if stored else ("" if weights == PRETRAINED else weights)
        if backbone and not source and its_tag not in cls.published:
            raise UsageError(
                f"{self.called}: {backbone} has no published weights to begin with; make them "
                f"(run_benchmark.py train {backbone} --list) and name the file: --set weights=FILE"
            )
        taken = {"tap": "residual"} if residual else {}
        trunk = cls(its_tag, weights=source, seed=seed, **taken)
        if keep:
            trunk = trunk.with_blocks(range(1, keep + 1))
        if stored:
            shape = _shape_in(stored, trunk.net.shape, trunk.promised)
            trunk.net = HubertNet(shape, with_head=False)
            trunk.card = replace(trunk.card, stride=shape.stride)
        trunk.net.head = None
        trunk.net.shape = replace(trunk.net.shape, units=0)
        return trunk


def blocks_left(single: int, last: int, who: str) -> int:
    """The blocks of a model with one exit, at its end; all where `single` is 0. UsageError: there
    are not so many."""
    if not 0 <= single <= last:
        raise UsageError(f"{who}: single is 1 to {last} blocks, or 0, not {single}")
    return single or last


def _shape_in(stored: Stored, asked: HubertShape, promised: Sequence[str]) -> HubertShape:
    """What a file says of its trunk. UsageError: it is not what is asked for."""
    try:
        facts = json.loads(stored.header["trunk"])
        HubertShape(**facts)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"weights: the header of {stored.path} states no trunk, or a damaged one; copy it again"
        ) from error
    if facts.get("depth") != asked.depth:
        raise UsageError(
            f"weights: {stored.path} has {facts.get('depth')} blocks, and {asked.depth} are asked "
            f"for; name the options that it was trained with (--set single={facts.get('depth')}, "
            "or none), or the backbone"
        )
    state = {
        name.removeprefix(TRUNK): tensor
        for name, tensor in stored.tensors.items()
        if name.startswith(TRUNK)
    }
    return found_shape(state, facts, asked, str(stored.path), promised)
