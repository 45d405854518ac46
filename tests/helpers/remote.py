"""Tensors that say they are on a GPU, for helpers/gpus.py."""

import time

import torch

CPU = torch.device("cpu")


def tensors_in(values):
    """Of an operation's arguments; faster than pytree, and there are many operations."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def replaced(value, kind, by):
    """`value`, or what is in it, with `by` of every tensor of that kind."""
    if isinstance(value, kind):
        return by(value)
    if type(value) in (list, tuple):
        return type(value)(replaced(v, kind, by) for v in value)
    return value


class Remote(torch.Tensor):
    """A tensor on a GPU; its numbers are in `host`, and what is done with it is done by `gpus`."""

    gpus = None

    @staticmethod
    def __new__(cls, host, device):
        like = {"strides": host.stride(), "storage_offset": host.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, host.size(), dtype=host.dtype, **like)

    def __init__(self, host, device):
        self.host, self.at = host, device

    device = property(lambda self: self.at)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return Remote.gpus.compute(func, args, kwargs or {})

    def __repr__(self, **_):
        return f"Remote({tuple(self.shape)}, {self.device})"

    def numpy(self, *_, **__):
        raise TypeError(f"can't convert a {self.device} tensor to numpy")

    __array__ = numpy

    def tolist(self):
        return self.cpu().tolist()

    def data_ptr(self):
        return self.host.data_ptr()

    def __deepcopy__(self, memo):
        copied = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return copied

    def __reduce_ex__(self, protocol):  # a file has it as it is read back: on the host
        return self.detach().cpu().__reduce_ex__(protocol)


class Move(torch.autograd.Function):
    """To a device and back."""

    @staticmethod
    def forward(ctx, tensor, device):
        ctx.device = tensor.device
        return Remote.gpus.copied(tensor, device)

    @staticmethod
    def backward(ctx, gradient):
        return Remote.gpus.copied(gradient, ctx.device), None


class Event:
    """Of torch.cuda: a mark among the work of the stream's device."""

    def __init__(self, enable_timing=False):
        self.when = None

    def record(self, stream):
        Remote.gpus.busy.add(stream.device.index)
        self.when = time.perf_counter()

    def elapsed_time(self, other):
        assert not Remote.gpus.busy, "an event was asked before it had happened"
        return 1000 * (other.when - self.when)
