"""`speed`: what a forward pass costs here, beside the libraries one would otherwise use, and what leaving early gives back.

Everything a ratio is made of is timed by turns in one run (`race.paired`), and of every utterance the median over the rounds counts. *Ideal*
is the time of the blocks that were not run, measured in the same rounds; *realised* is the share of it that the live
early-stopped pass really saved, branches and waiting included. The weights are random unless named: no time depends on them.
"""
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .contract import SAMPLE_RATE, Upstream
from .errors import UsageError
from .exiting import Exit, run_until_exit
from .lowered import PRECISIONS, at_precision
from .race import BackgroundLoad, EventTimer, machine, paired, peak_memory, summed_median

COLUMNS = ("part", "system", "batch", "exit", "branches", "seconds", "real_time_factor", "utterances_per_second", "to_best_peer",
           "s3prl_padded_to_this", "time_saved", "ideal_saving", "realised", "peak_mib",
           "precision", "device", "audio_seconds", "utterances", "rounds")
PADDED = 8              # utterances of a peer's batch on a CPU
GPU_BATCHES = (1, 4, 16, 64)
SIDE = 2048             # of the matrices whose product says what this machine can do
LENGTHS = (4.5, 0.4, 2.0, 17.0)     # seconds: median and log-spread of the built-in utterances (LibriSpeech test-clean's), shortest, longest


def command(argv: Sequence[str]) -> int:
    from .cli import Parser, _device
    parser = Parser(prog="run_benchmark.py speed", allow_abbrev=False,
                    description="Time HuBERT here against transformers, torchaudio and s3prl, and every exit against the ideal.")
    add = parser.add_argument
    add("--tag", default="base", help="tiny, base or large; default base")
    add("--weights", default="random", help="of ours, as `hubert` takes them; default random, as the peers' are")
    add("--data", type=Path, metavar="DIR", help="a folder of recordings, of which some of every length are taken; default: noise of such lengths")
    add("--utterances", type=int, default=16, metavar="N", help="default 16")
    add("--rounds", type=int, default=5, metavar="N", help="default 5")
    add("--device", default="cpu", metavar="DEV")
    add("--precision", choices=PRECISIONS, help="default bf16 on a GPU, fp32 elsewhere")
    add("--only", choices=("peers", "exits"), help="one half of the table")
    add("--csv", type=Path, metavar="FILE", help="the table as CSV too")
    args = parser.parse_args(argv)
    if args.utterances < 1 or args.rounds < 1:
        raise UsageError(f"speed needs at least one utterance and one round, not {args.utterances} and {args.rounds}")
    _device(args.device)
    return Speed(args).run()


class Speed:
    """One run of the command: its inputs, and the rows made so far."""

    def __init__(self, args: Any):
        from .paths import writable
        from .registry import build_upstream
        if args.csv:
            writable(args.csv.parent)
        self.device, self.rounds, self.only, self.csv = args.device, args.rounds, args.only, args.csv
        self.precision = args.precision or ("bf16" if args.device.startswith("cuda") else "fp32")
        self.daisy = build_upstream(f"daisy.{args.tag}", {"weights": args.weights, "branches": "random"}).to(args.device).requires_grad_(False)
        self.shape = self.daisy.backbone.net.shape
        self.daisy = at_precision(self.daisy, self.precision)
        self.wavs = [w.to(args.device) for w in (recordings(args.data, args.utterances) if args.data else built_in(args.utterances))]
        self.audio, self.machine, self.rows = sum(map(len, self.wavs)) / SAMPLE_RATE, machine(args.device), []
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.square = torch.randn(SIDE, SIDE, device=args.device, dtype=dtype)      # its product says what this machine can do
        self.rate = math.nan                                                        # GMAC/s of it
        self.what = f"{len(self.wavs)} utterances of {args.data or 'built-in noise'}, {self.audio:.0f} s of audio"

    def run(self) -> int:
        import pandas as pd

        from .paths import write_text
        others = BackgroundLoad()
        if self.only != "exits":
            self.against_peers()
        if self.only != "peers":
            self.exits()
        table = pd.DataFrame(self.rows, columns=list(COLUMNS))
        if self.csv:
            write_text(self.csv, table.to_csv(index=False, lineterminator="\n"))
        print(f"HuBERT {self.shape.depth} x {self.shape.dim}, {self.precision}, {self.what}, medians of {self.rounds} paired rounds\n{self.machine}")
        busy = others.share()
        print("" if busy is None else f"other programs used {busy:.0%} of its processors meanwhile" + (
            ": too much for these figures to mean anything" if busy > 0.1 else ""))
        with pd.option_context("display.width", None, "display.max_columns", None, "display.max_rows", None):
            shown = table.drop(columns=["precision", "device", "audio_seconds", "utterances", "rounds"]).dropna(axis=1, how="all")
            print(shown.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.3f}"))
        for line in (*self.roofline(), *goals(table)):
            print(line)
        return 0

    def row(self, part: str, system: str, batch: int, seconds: float, **more: Any) -> None:
        self.rows.append({"part": part, "system": system, "batch": batch, "seconds": seconds, "real_time_factor": seconds / self.audio,
                          "utterances_per_second": len(self.wavs) / seconds, "precision": self.precision, "device": self.machine,
                          "audio_seconds": self.audio, "utterances": len(self.wavs), "rounds": self.rounds, **more})

    def timed(self, runners: dict, units: Sequence[Any], what: str) -> dict[Any, float]:
        """Seconds of every runner over all units; in passing, the rate of a plain matrix product."""
        seconds = paired({"product": lambda _: self.square @ self.square} | runners, units, self.rounds, self.device, what)
        self.rate = SIDE**3 / float(np.median(seconds.pop("product"))) / 1e9
        return {name: float(summed_median(taken)) for name, taken in seconds.items()}

    # ---- ours beside the peers ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def against_peers(self) -> None:
        """Whole passes at full depth: a peer's batches in the order the utterances come, ours in order of length."""
        from .peers import peers
        found, notices = peers(self.shape, self.device)
        for notice in notices:
            print(f"notice: {notice}", file=sys.stderr)
        lowered = partial(torch.autocast, self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")
        full, runners, backbone = Exit((self.shape.depth,)), {}, self.daisy.backbone

        def theirs(peer: Callable, batch: int, wavs: Sequence[Tensor]) -> None:
            for some in batches(wavs, batch):
                with lowered():
                    peer(some)

        def ours(batch: int, wavs: Sequence[Tensor]) -> None:
            for some in batches(sorted(wavs, key=len, reverse=True), batch):
                run_until_exit(backbone, *padded(some), full)
        sizes = GPU_BATCHES if self.device.startswith("cuda") else (1, PADDED)
        for batch in sizes:
            runners |= {(name, batch): partial(theirs, peer, batch) for name, peer in found.items()} | {("ours", batch): partial(ours, batch)}
        groups = batches(self.wavs, max(sizes))
        peak = {key: peak_memory(runner, groups[0], self.device) for key, runner in runners.items()}       # and everybody is warm
        seconds = self.timed(runners, groups, "full depth")
        for (name, batch), taken in seconds.items():
            best, padded8 = min((seconds[peer, batch] for peer in found), default=math.nan), seconds.get(("s3prl", PADDED), math.nan)
            self.row("full depth", name, batch, taken, exit=self.shape.depth, branches=0, to_best_peer=taken / best,
                     s3prl_padded_to_this=padded8 / taken, peak_mib=peak[name, batch])

    # ---- leaving early ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def exits(self) -> None:
        """Live passes at batch 1, one utterance at a time; `blocks` is the full pass with a stamp at every depth, from which the ideal comes."""
        depth, stamped = self.shape.depth, {False: [], True: []}

        def live(upstream: Upstream, exit: Exit, wav: Tensor):
            return run_until_exit(upstream, wav[None], torch.tensor([len(wav)]), exit)

        def blocks(branches: bool, wav: Tensor) -> None:
            stamped[branches].append(walk(self.daisy, wav, self.device, branches))
        half = depth // 2
        plans = {f"exit {k}": (self.daisy.backbone, Exit((k,)), k, 0) for k in range(1, depth)} | {
            "daisy, all depths tested": (self.daisy, *leaving_at(half, range(1, half + 1), depth)),
            "daisy, two depths tested": (self.daisy, *leaving_at(half, (half - 1, half), depth))}
        runners = {"full": partial(live, self.daisy.backbone, Exit((depth,))), "blocks": partial(blocks, False),
                   "all branches": partial(blocks, True)} | {name: partial(live, plan[0], plan[1]) for name, plan in plans.items()}
        longest = max(self.wavs, key=len)
        peak = {name: peak_memory(runner, longest, self.device) for name, runner in runners.items()}
        stamped = {False: [], True: []}                     # the ones for memory do not count, nor the first, to warm up
        seconds = self.timed(runners, self.wavs, "exits, batch 1")
        steps, parts = (
            summed_median(np.stack([s.seconds() for s in stamped[b][1:]]).reshape(self.rounds, len(self.wavs), -1))
            for b in (False, True)
        )
        full = seconds["full"]
        self.row("exits", "full", 1, full, exit=depth, branches=0, peak_mib=peak["full"])
        for name, (_, _, left, tested) in plans.items():
            ideal = float(steps[left + 1:].sum())
            self.row("exits", name, 1, seconds[name], exit=left, branches=tested, time_saved=1 - seconds[name] / full,
                     ideal_saving=ideal / full, realised=(full - seconds[name]) / ideal, peak_mib=peak[name])
        evidence = parts[2::2].sum()                        # within the same pass: a difference of two passes drowns in their noise
        self.row("exits", "all branches, nobody leaves", 1, seconds["all branches"], exit=depth, branches=depth,
                 time_saved=float(-evidence / (parts.sum() - evidence)), peak_mib=peak["all branches"])

    # ---- what would be possible -----------------------------------------------------------------------------------------

    def roofline(self) -> list[str]:
        """Multiply-accumulates a full pass takes, against those a second of plain matrix product gives here: the bounds of all ratios above."""
        def macs(wavs: Sequence[Tensor]) -> float:
            return sum(self.daisy.macs(len(w), self.shape.depth) for w in wavs) / 1e9
        taken = {(r["system"], r["batch"]): r["seconds"] for r in self.rows}
        own, ours = macs(self.wavs), taken.get(("ours", 1)) or taken["full", 1]
        branches = sum(self.daisy.evidence_macs(len(w), k) for w in self.wavs for k in range(1, self.shape.depth + 1)) / 1e9
        lines = [f"roofline: a {self.precision} matrix product of side {SIDE} does {self.rate:.0f} GMAC/s here; a full pass takes {own:.0f} GMAC, so "
                 f"{own / self.rate:.2f} s at that rate; it took {ours:.2f} s at batch 1 ({own / self.rate / ours:.0%} of the rate)",
                 f"          all branches take {branches:.1f} GMAC: {branches / own:.1%} of a full pass before a single logarithm"]
        if theirs := taken.get(("s3prl", PADDED)):
            filled = sum(len(some) * macs([max(some, key=len)]) for some in batches(self.wavs, PADDED))
            lines.append(f"          s3prl's padded batches of {PADDED} take {filled:.0f} GMAC, {filled / own:.2f} times as much, at "
                         f"{filled / theirs:.0f} GMAC/s; "
                         f"unpadded and at the full rate a pass would be {theirs * self.rate / own:.2f} times faster than they")
        return lines


def leaving_at(depth: int, tested: Sequence[int], blocks: int) -> tuple[Exit, int, int]:
    """An exit that tests `tested`, lets nobody go before `depth` and everybody there; with that depth and how many branches it asks."""
    depths = (*tested, blocks)
    return Exit(depths, tuple(math.inf if k == depth else -math.inf for k in depths)), depth, len(tested)


def walk(upstream: Upstream, wav: Tensor, device: str, branches: bool) -> EventTimer:
    """All depths of one utterance, a stamp before and after each; with `branches` also after each one's evidence, as a recording pass takes it."""
    length, stamps, previous = torch.tensor([len(wav)]), EventTimer(device), None
    frames = upstream.frames(length).to(device, non_blocking=True)
    states = []                                              # kept, as whoever asks for all states keeps them
    stamps.mark()
    for depth, state in enumerate(upstream.states(wav[None], length)):
        stamps.mark()
        if branches and depth:
            upstream.evidence(depth, state, previous, frames)
            stamps.mark()
        previous = state
        states.append(state)
    return stamps


def batches(wavs: Sequence[Tensor], size: int) -> list[Sequence[Tensor]]:
    return [wavs[i: i + size] for i in range(0, len(wavs), size)]


def padded(wavs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True), torch.tensor([len(w) for w in wavs])


def recordings(folder: Path, count: int) -> list[Tensor]:
    """`count` utterances at even steps of the folder's lengths, in a seeded order."""
    from .audio import audio_files, length, read
    files = sorted(audio_files(folder), key=lambda f: (length(f), str(f)))
    if len(files) < count:
        raise UsageError(f"--data {folder} holds {len(files)} recordings, fewer than --utterances {count}; ask for fewer")
    chosen = [files[int((i + 0.5) * len(files) / count)] for i in range(count)]
    return [torch.from_numpy(read(chosen[i])) for i in np.random.default_rng(0).permutation(count)]


def built_in(count: int) -> list[Tensor]:
    """`count` pieces of seeded noise, log-normal in length like read sentences, in a seeded order."""
    from statistics import NormalDist

    from .conformance import noise
    median, spread, shortest, longest = LENGTHS
    seconds = [median * math.exp(spread * NormalDist().inv_cdf((i + 0.5) / count)) for i in range(count)]
    return [noise(min(max(seconds[i], shortest), longest), int(i))[0] for i in np.random.default_rng(0).permutation(count)]


def goals(table: Any) -> list[str]:
    """This project's aims for HuBERT Base on a CPU, and what this run says of each."""
    full, exits = table[table.part == "full depth"], table[table.part == "exits"].set_index("system")
    lines: list[tuple[str, float, float, bool]] = []
    against = full[full.system == "ours"].s3prl_padded_to_this.max()
    if not math.isnan(against):
        lines.append((f"times faster than s3prl's padded batch of {PADDED}", against, 2.5, True))
    for _, row in full[(full.system == "ours") & (full.batch == 1)].dropna(subset=["to_best_peer"]).iterrows():
        lines.append(("time at batch 1 over the best peer's", row.to_best_peer, 1.02, False))
    for name, row in exits.dropna(subset=["realised"]).iterrows():
        wanted = {"daisy, all depths tested": 0.90, "daisy, two depths tested": 0.95}.get(name, 0.97)
        if name.startswith("daisy") or row.exit in (2, 4, 6, 8):
            lines.append((f"of the ideal saving realised, {name} (left after {row.exit}, {row.branches} branches)", row.realised, wanted, True))
    if "all branches, nobody leaves" in exits.index:
        lines.append(("all branches, share of the full pass", -exits.time_saved["all branches, nobody leaves"], 0.04, False))
    return [f"goal {'met   ' if (value >= wanted if more else value <= wanted) else 'MISSED'} {value:.3f} "
            f"({'at least' if more else 'at most'} {wanted:g})  {what}" for what, value, wanted, more in lines]
