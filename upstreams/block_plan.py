"""Some blocks of a backbone, in a given order: skipped, dropped, reordered or repeated, the same
for every utterance.

Static, so it needs no evidence. Removing the last blocks is the layer removal of Zaiem et al., 2023
(arXiv:2303.06740), without their fine-tuning; every other block is what LayerDrop (Fan et al.,
2020, arXiv:1909.11556, sec. 3.2) prunes to.
"""

from dataclasses import replace

from ..benchmark.contract.wrapper import Wrapper
from ..benchmark.errors import UsageError
from ..benchmark.registry import build_upstream, spelled, upstreams


@upstreams.register("block_plan")
class BlockPlan(Wrapper):
    """
    Args:
        backbone: any upstream that steps block by block; weights: its weights option.
        blocks: the plan, such as 1-6, 1-12:2 (every other) or 1,2,5,5; with `/` for `,` on a
            command line that splits at commas.
    """

    compared = ({},)

    def __init__(self, backbone: str = "hubert.tiny", weights: str = "", blocks: str = "1-12:2"):
        inner = build_upstream(backbone, {"weights": weights} if weights else {})
        plan = planned(blocks, inner.card.depth)
        super().__init__(
            inner.with_blocks(plan),
            name=spelled(
                "block_plan", "", backbone=(inner.card.name, "hubert.tiny"), blocks=(blocks, "")
            ),
        )
        self.card = replace(
            self.card,
            source=f"this project, around {inner.card.source}",
            kind="pruned" if len(plan) < inner.card.depth else inner.card.kind,
        )


def planned(text: str, depth: int) -> tuple[int, ...]:
    """ "1-12:2" -> (1, 3, 5, 7, 9, 11); commas or slashes join several such words."""
    plan: list[int] = []
    for word in text.replace("/", ",").split(","):
        ends, _, step = word.strip().partition(":")
        first, dash, last = ends.partition("-")
        numbers = [first, last if dash else first, step or "1"]
        if not all(n.isdecimal() for n in numbers) or int(numbers[2]) < 1:
            raise UsageError(
                f"block_plan: blocks are written like 1-6, 1-12:2 or 1/2/5, not {text!r}"
            )
        plan += range(int(numbers[0]), int(numbers[1]) + 1, int(numbers[2]))
    if not plan or min(plan) < 1 or max(plan) > depth:
        raise UsageError(f"block_plan: blocks {text!r} are not among the backbone's 1 to {depth}")
    return tuple(plan)
