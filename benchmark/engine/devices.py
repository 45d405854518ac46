"""Which devices there are to run on, and whose numbers a table shows where several were used."""

from collections.abc import Iterator, Sequence

import torch

from ..errors import MachineError, UsageError, first_line
from ..report.result import Result
from .timing import hardware, hardware_of

KNOWN = "cpu, cuda or cuda:N"


def check_device(name: str) -> None:
    """Nothing where `name` can be computed on.

    Raises: UsageError: it names no device that this project runs on, or a GPU that is not there;
        MachineError: the GPU is there and cannot be used.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"--device is {KNOWN}, not {name!r}") from None
    if device.type == "cpu" and device.index is None:
        return
    if device.type != "cuda":
        # Apple's, Intel's and the others: no test has seen this project there
        raise UsageError(
            f"--device is {KNOWN}, not {name!r}: it has been made to work on no other kind of "
            "device; leave the flag out to run on the CPU"
        )
    if not torch.cuda.is_available():
        raise UsageError(
            f"--device {name}: this machine has no CUDA device that torch can use; leave the flag "
            "out to run on the CPU"
        )
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise UsageError(
            f"--device {name}: torch sees {count} CUDA device{'s' * (count > 1)} here, the last "
            f"of which is cuda:{count - 1}"
        )
    _try(name)


def _try(name: str) -> None:
    """One sum on a GPU, which a driver that is too old, a card that this torch was not built for,
    or another program that holds it alone would not let through."""
    try:
        torch.ones(1, device=name).sum().item()
    except RuntimeError as error:
        raise MachineError(
            f"--device {name}: torch cannot compute there ({first_line(error)}); try "
            f"another of the {torch.cuda.device_count()}, or leave the flag out to run on the CPU"
        ) from error


def made_elsewhere(results: Sequence[Result], device: str) -> Iterator[str]:
    """Sentences about rows whose seconds, or whose heads, are of other hardware than `device`.

    A row is identified by what changes its score beyond rounding, so a device is not in its cell,
    and a head is at home wherever it is loaded.
    """
    ours, every = hardware(device), len(results)
    measured = [hardware_of(r.device) for r in results if r.device]
    if others := sorted({name for name in measured if name != ours}):
        count = sum(name != ours for name in measured)
        yield (
            f"{count} of {every} rows: made earlier on {' and on '.join(others)}, not on {ours} "
            f"(--device {device}), so that their times and memory are of there; for rows of this "
            "device choose another folder with --results, or make them anew with --force"
        )
    trained = [
        (hardware_of(result.device), head)
        for result in results
        if result.device and (head := (result.detail.get("training") or {}).get("device"))
    ]
    if others := sorted({head for row, head in trained if head != row}):
        count = sum(head != row for row, head in trained)
        yield (
            f"{count} of {every} rows: their heads were trained on {' and on '.join(others)} and "
            "are used as they are (detail.training.device in a row's JSON); --force trains them "
            "here"
        )
