"""A HuBERT of which some blocks are left: of weights that hold all of them, or those alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...benchmark.errors import UsageError
from .hubert import HubertNet
from .hubert_shape import HubertShape
from .hubert_weights import load

HUBERT = "hubert"  # the family that a source must be of, where it says so


def load_kept(
    source: str, shape: HubertShape, blocks: Sequence[int], seed: int, who: str
) -> tuple[HubertNet, str]:
    """A network of the blocks `blocks` of a HuBERT, and its revision.

    Args:
        source: as `hubert_weights.load` takes it: all blocks of `shape`; or our FILE.safetensors
            that a training wrote with these blocks alone.
        who: asks, for messages.

    Raises:
        UsageError: as `load`; the file holds other blocks.
    """
    there = stored_blocks(source)
    if not there or len(there) == shape.depth:
        net, revision = load(source, shape, seed, HUBERT)
        return net.with_blocks(blocks), revision
    if list(there) != list(blocks):
        raise UsageError(
            f"{who}: {source} holds the blocks {_said(there)} alone, and {_said(blocks)} are asked "
            "for; name weights with all blocks, or ask for those that are there"
        )
    return load(source, replace(shape, depth=len(blocks)), seed, HUBERT)


def stored_blocks(source: str) -> tuple[int, ...]:
    """The blocks, by their numbers in the model they come from, of which a file of a distillation
    says that they are all it holds; () where it says nothing, or is no such file."""
    path = Path(source).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        return ()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get("blocks", "")
        return tuple(int(word) for word in said.split("/") if word)
    except (SafetensorError, OSError, ValueError):
        return ()  # `load` says what is wrong with it


def _said(blocks: Sequence[int]) -> str:
    return "/".join(map(str, blocks))
