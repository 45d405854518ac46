"""One training in several processes, started by torchrun: who I am, what of a batch is mine,
what all of us found.

Every process draws the same batches from the same seeds, computes its own rows, and takes the mean
of everybody's gradients; statistics over a batch are over all its rows. So a training ends as in
one process with the same batch, up to the order of additions, and to dropout, of which every row
has its own. The first process alone looks, logs and writes; the others see the same folder.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from .errors import UsageError


@contextlib.contextmanager
def joined(device: str) -> Iterator[str]:
    """Meet the other processes of a torchrun, where there are any (gloo on CPUs, nccl on GPUs);
    yields this one's device.

    Raises: UsageError: all were given one GPU, or there are fewer GPUs here than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield device
        return
    if device.startswith("cuda"):
        device = _own_gpu(device, size)
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo", timeout=timedelta(days=1)
    )
    if not is_leader():
        os.environ["TQDM_DISABLE"] = "1"  # one set of bars
    try:
        yield device
        # gloo may abort a process that leaves while the first one still looks and writes
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _own_gpu(device: str, size: int) -> str:
    """The GPU of this process: nccl lets no two of them share one."""
    if device != "cuda":
        raise UsageError(
            f"--device {device}: {size} processes of a torchrun cannot share one GPU; "
            "--device cuda gives each its own"
        )
    number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= count:
        raise UsageError(
            f"--device cuda: process {number} of a torchrun finds no GPU of its own, torch sees "
            f"{count} here; start at most {count} (--nproc-per-node {count})"
        )
    return f"cuda:{number}"


def rank_and_size() -> tuple[int, int]:
    """(my number from 0, how many we are)"""
    return (
        (distributed.get_rank(), distributed.get_world_size())
        if distributed.is_initialized()
        else (0, 1)
    )


def is_leader() -> bool:
    return rank_and_size()[0] == 0


def share(count: int, what: str = "batch") -> slice:
    """My rows of `count`, as many as everybody's."""
    rank, size = rank_and_size()
    if count % size:
        raise UsageError(
            f"{size} processes cannot share a {what} of {count} equally; choose one that {size} "
            f"divides (--set {what}=N)"
        )
    return slice(rank, None, size)


def mean(value: Tensor) -> Tensor:
    """The mean of everybody's `value`."""
    size = rank_and_size()[1]
    if size > 1:
        value = value.clone()
        distributed.all_reduce(value)
        value /= size
    return value


def total(value: Tensor) -> Tensor:
    """The sum of everybody's `value`, through which gradients pass to all."""
    if rank_and_size()[1] == 1:
        return value
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value)


def draw_apart() -> None:
    """From here on every process draws its own random numbers; the first one goes on with those
    that one alone would draw."""
    rank = rank_and_size()[0]
    if rank:
        torch.manual_seed((torch.initial_seed() + rank * 2**32) % 2**63)


def from_leader(value: Tensor) -> Tensor:
    """The first process's `value`, which everybody's must have the shape of."""
    if rank_and_size()[1] > 1:
        distributed.broadcast(value, 0)
    return value


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if rank_and_size()[1] == 1 or not gradients:
        return
    averaged = mean(torch.cat([g.flatten() for g in gradients]))
    for gradient, values in zip(
        gradients, averaged.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(values.view_as(gradient))


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """The first process goes first; the others find what it left."""
    size = rank_and_size()[1]
    if size > 1 and not is_leader():
        distributed.barrier()
    yield
    if size > 1 and is_leader():
        distributed.barrier()
