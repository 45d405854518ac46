"""Upstreams that stand in a comparison: the toy of toy.py, and smaller ones."""

from dataclasses import replace

from earlyexit_superb.benchmark.errors import MachineError
from toys.toy import Toy


class Adaptive(Toy):
    """Exits by itself."""

    compared = ({"rho": "1.0", "span": "mean"},)


class Small(Toy):
    """A static one of one block, called distilled; its depths are all computed."""

    knob, compared = None, ({"blocks": "1"}, {"blocks": "2"})

    def __init__(self, blocks: int = 2, revision: str = "seed-0"):
        super().__init__(blocks=blocks)
        about = {"kind": "distilled", "stepped": False, "revision": revision, "evidence": ""}
        self.card = replace(self.card, name=f"small(blocks={blocks})", **about)

    def macs(self, samples, depth):
        return super().macs(samples, self.card.depth)


class Random(Toy):
    """Nothing has been learned here."""

    compared = ({},)

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="random", revision="random-0")


class Elsewhere(Random):
    """Its weights would have to be downloaded."""

    stand_in = {"weights": "random"}

    def __init__(self, weights: str = ""):
        super().__init__()
        if not weights:
            raise MachineError("elsewhere: its weights are not on this machine; download them")


class Tuned(Toy):
    """Saw labels of one task."""

    knob, compared = None, ({},)

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="tuned", tuned_on="its corpus", tasks=("asr",))


ALL = {"adaptive": Adaptive, "elsewhere": Elsewhere, "random": Random, "small": Small}
ALL["tuned"] = Tuned
