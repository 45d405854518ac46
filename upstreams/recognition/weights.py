"""A recogniser's weights: one safetensors file that stands alone.

Its tensors are those of trunk and heads, and of a filter that was learned before the trunk; its
header says what they are of: the system, the trunk's sizes, the heads by depth, what shortens the
input, the alphabet (a word-piece model included), and the labelled data that they were tuned on.
fp16 in the file, float32 in memory; the revision is a hash of the latter.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...benchmark.contract import Upstream
from ...benchmark.errors import UsageError
from ..backbones import hubert_weights
from ..backbones.checkpoint_formats import safetensors_of
from ..backbones.shared_tensors import with_shared, without_shared
from ..backbones.shortened import Shortened
from .alphabet import HEADER, Alphabet
from .heads import are_tied
from .recogniser import Recogniser

TRUNK = "trunk.net."  # before the names that a backbone's own file has
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Description:
    """What a file must say to be of a recogniser.

    Attributes:
        system: the plug-in's name.
        trunk: its sizes, as JSON keeps them.
        heads: by depth as text, what each is.
        tied: whether all heads are one.
        alphabet: that they write with.
        more: options of which a file says nothing where they are "": what shortens the input, how
            many scores a frame gives, another encoder.
    """

    system: str
    trunk: Mapping[str, Any]
    heads: Mapping[str, Any]
    tied: bool
    alphabet: Alphabet
    more: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> dict[str, str]:
        said = {"system": self.system} | self.alphabet.header()
        said |= {"trunk": json.dumps(dict(self.trunk)), "heads": json.dumps(dict(self.heads))}
        said |= {"tied": json.dumps(self.tied)}
        return said | {name: value for name, value in self.more.items() if value}


def described(
    system: str,
    trunk: Mapping[str, Any],
    heads: nn.ModuleDict,
    alphabet: Alphabet,
    **more: str,
) -> Description:
    """Of heads whose `shape` is a dataclass."""
    shapes = {depth: asdict(head.shape) for depth, head in heads.items()}
    return Description(system, trunk, shapes, are_tied(heads), alphabet, more)


def parts(trunk: Upstream, heads: nn.ModuleDict) -> nn.ModuleDict:
    """What has a place in a file, by the names that it has there, whatever is around the trunk."""
    if not isinstance(trunk, Shortened):
        return nn.ModuleDict({"trunk": trunk, "heads": heads})
    learned = {"shorten": trunk.shorten} if trunk.shorten.learns else {}
    return nn.ModuleDict({"trunk": trunk.inner, "heads": heads, **learned})


def save(
    model: Recogniser,
    about: Description,
    path: Path,
    tuned_on: str,
    dtype: torch.dtype = torch.float16,
    without: str = "",
    **metadata: str,
) -> None:
    """Write `model`, whole or not at all.

    Args:
        about: as the constructor of its system describes it.
        tuned_on: the labelled data, for cards and tables.
        without: a shipped backbone whose tensors are not stored again, where the trunk still has
            them (`hubert.tiny`).
        metadata: more strings for the header.
    """
    whole = parts(model.trunk, model.heads)
    tensors = _without_ties(hubert_weights.stored(whole, dtype), about)
    tensors, shared = without_shared(tensors, without, _trunk_of)
    header = about.header() | shared | metadata | {"tuned_on": tuned_on}
    hubert_weights.write_tensors(tensors, path, header)


@dataclass(frozen=True)
class Stored:
    """A file that was read: its tensors, its header and its alphabet."""

    path: Path
    tensors: Tensors
    header: Mapping[str, str]
    alphabet: Alphabet

    @property
    def tuned_on(self) -> str:
        return self.header.get("tuned_on", "")

    @property
    def recipe(self) -> str:
        """As `UpstreamCard` has it; a file of before states none."""
        return self.header.get("recipe", "")


def origin(stored: Stored | None) -> dict[str, str]:
    """What a card says of the training of a file; of no file that there was none."""
    if stored is None:
        return {"tuned_on": "", "recipe": ""}
    return {"tuned_on": stored.tuned_on, "recipe": stored.recipe}


def is_stored(source: str) -> bool:
    """Whether `source` is a file whose header says that it is a recogniser's."""
    from safetensors import safe_open

    path = Path(source).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return HEADER in (file.metadata() or {})
    except Exception:  # a damaged file may fail in any way; whoever reads it says so
        return False


def read(source: str, system: str) -> Stored:
    """Raises: UsageError: there is no such file, a damaged one, or one of no such recogniser."""
    path = Path(source).expanduser()
    if not path.is_file():
        raise UsageError(
            f"weights: there is no file {path}; name one that a training of {system} wrote "
            f"(run_benchmark.py train {system}.tiny --task asr --out DIR)"
        )
    tensors, header = safetensors_of(path, "weights")
    if header.get("system") != system:
        there = header.get("system")
        raise UsageError(
            f"weights: {path} is of {there or 'no known system'}, not of {system}; name that one, "
            "or weights that a training of this one wrote"
        )
    tensors = with_shared(tensors, header, path, _trunk_of)
    return Stored(path, {k: v.float() for k, v in tensors.items()}, header, _alphabet(path, header))


def fill(stored: Stored, about: Description, trunk: Upstream, heads: nn.ModuleDict) -> str:
    """Put the tensors into `trunk` and `heads`; their revision.

    Args:
        about: what is wanted.
        trunk, heads: of any content, on the meta device too.
    Raises: UsageError: the file is of another trunk, alphabet or other heads.
    """
    _refuse_another(stored, about)
    whole = parts(trunk, heads).to_empty(device="cpu")
    wanted = _without_ties(whole.state_dict(), about)
    hubert_weights.refuse_others(stored.tensors, wanted, f"weights: {stored.path}")
    whole.load_state_dict(stored.tensors, strict=False)  # tied heads are stored once
    return hubert_weights.content_hash(whole.eval())


def _refuse_another(stored: Stored, about: Description) -> None:
    path, wanted = stored.path, about.header()
    if stored.alphabet != about.alphabet:
        ours, theirs = about.alphabet, stored.alphabet
        raise UsageError(
            f"weights: {path} writes with the alphabet {theirs.name} of {len(theirs)} symbols, not "
            f"with {ours.name} of {len(ours)}; leave alphabet out, or train it with that one"
        )
    there = {name: stored.header.get(name, "") for name in about.more}
    if there != about.more:
        raise UsageError(
            f"weights: {path} was trained with {_options(there)}, and {_options(about.more)} is "
            "asked for; name the options that it was trained with"
        )
    for key, what in (("heads", "heads"), ("tied", "tying of heads"), ("trunk", "trunk")):
        there, asked = _json(stored, key), json.loads(wanted[key])
        if there != asked:
            raise UsageError(
                f"weights: {path} differs from what is asked for in its {what} "
                f"({_difference(there, asked)}); name the tag and the options that it was trained "
                "with"
            )


def _json(stored: Stored, key: str) -> Any:
    try:
        return json.loads(stored.header[key])
    except (KeyError, ValueError, RecursionError) as error:
        raise UsageError(
            f"weights: the header of {stored.path} does not say its {key}, or is damaged; copy it "
            "again"
        ) from error


def _options(more: Mapping[str, str]) -> str:
    """As --set takes them."""
    said = " ".join(f"{name}={value}" for name, value in more.items() if value)
    return said or f"none of {', '.join(more)}"


def _difference(there: Any, wanted: Any) -> str:
    """The first entry that differs, for people."""
    if not isinstance(there, dict) or not isinstance(wanted, dict):
        return f"{there}, not {wanted}"
    if there.keys() != wanted.keys():
        return f"at {', '.join(there)}, not {', '.join(wanted)}"
    key = next(k for k in wanted if there[k] != wanted[k])
    return f"{key}: {there[key]}, not {wanted[key]}"


def _alphabet(path: Path, header: Mapping[str, str]) -> Alphabet:
    try:
        return Alphabet.from_header(header)
    except UsageError as error:
        raise UsageError(f"weights: {path}: {error}") from error


def _without_ties(tensors: Tensors, about: Description) -> Tensors:
    """One head's tensors where all are one."""
    kept = f"heads.{next(iter(about.heads))}."
    if not about.tied:
        return tensors
    return {k: v for k, v in tensors.items() if not k.startswith("heads.") or k.startswith(kept)}


def _trunk_of(path: Path, what: str) -> tuple[Tensors, dict[str, str]]:
    """A backbone's own file, by the names that its tensors have here."""
    tensors, said = safetensors_of(path, what)
    return {TRUNK + name: tensor for name, tensor in tensors.items()}, said
