"""Two GPUs that a machine without any has.

Tensors say that they are there. Every operation is computed on the CPU, once it is known that a
GPU would do it: operands on two devices raise, and so does numpy of what is not on the host. What
takes the host to wait is counted; a clock that is read while a GPU is still at work is noted.

    with Gpus() as gpus:
        ...
    gpus.waits["benchmark/exiting.py"], gpus.early
"""

import contextlib
import sys
import time
from collections import Counter
from types import SimpleNamespace
from unittest import mock

import torch
import torch._dynamo  # when loaded it compares torch's functions with its own: before any patch
from earlyexit_superb.benchmark.engine import timing
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from helpers import ROOT
from helpers.remote import CPU, Event, Move, Remote, replaced, tensors_in

# what makes tensors of its own inside: run as a whole
WHOLE = {"lstm", "pad_sequence", "_pad_packed_sequence", "ctc_loss"}
# operands before those that are lengths, which the host reads
LENGTHS = {"_ctc_loss": 2, "_ctc_loss_backward": 3, "_pack_padded_sequence": 1}
# a number on the host will not do for an operand, as it does in arithmetic
STRICT = {
    "cat",
    "stack",
    "mm",
    "addmm",
    "bmm",
    "convolution",
    "index_select",
    "gather",
    "embedding",
}
READ = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "equal",
}


class Autocast(torch.autocast):
    """What is remote runs on the CPU, and so must its autocast."""

    def __init__(self, device_type, *args, **kwargs):
        super().__init__(device_type.replace("cuda", "cpu"), *args, **kwargs)


def _compatible(a, b, plain=torch._has_compatible_shallow_copy_type):
    """Whether a module may keep its parameter: what moves becomes another tensor."""
    remote = isinstance(a, Remote) or isinstance(b, Remote)
    return a is b if remote else plain(a, b)


class Gpus(TorchFunctionMode):
    """
    Args:
        free: bytes of memory that a program finds free on each.

    Attributes:
        busy: numbers of the GPUs with work that nobody waited for.
        used: operations by device.
        asked: by number of a GPU, how often a question was about it.
        waits: how often the host waited, by file of the project.
        early: how often a clock was read while a GPU was busy.
    """

    count = 2

    def __init__(self, free=2**30):
        super().__init__()
        self.free, self.busy, self.early = free, set(), 0
        self.used, self.waits, self.asked = Counter(), Counter(), Counter()

    # ---- torch.cuda ----

    def __enter__(self):
        Remote.gpus, self.stack = self, contextlib.ExitStack()
        for owner, name, value in self._patches():
            self.stack.enter_context(mock.patch.object(owner, name, value))
        self.stack.enter_context(Inner(self))
        return super().__enter__()

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self.stack.close()
        Remote.gpus = None

    def _patches(self):
        cuda = {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "is_bf16_supported": lambda *_, **__: True,
            "device_count": lambda: self.count,
            "current_device": lambda: 0,
            "set_device": lambda device: None,
            "empty_cache": lambda: None,
            "is_current_stream_capturing": lambda: False,
            "Event": Event,
            "synchronize": self._synchronise,
            "current_stream": lambda d: SimpleNamespace(device=self.device(d)),
            "get_device_name": lambda d: f"GPU {self._about(d)}",
            "get_device_capability": lambda d: (8, 0),
            "memory_allocated": lambda d: 2**20 * (1 + self._about(d)),
            "max_memory_allocated": lambda d: 3 * 2**20 * (1 + self._about(d)),
            "reset_peak_memory_stats": lambda d: self._about(d),
            "mem_get_info": lambda d: (self.free, 2**40 + 0 * self._about(d)),
            "get_rng_state": self._every_gpu,
            "manual_seed_all": lambda seed: None,
        }
        yield from ((torch.cuda, name, value) for name, value in cuda.items())
        yield torch, "autocast", Autocast
        yield torch, "_has_compatible_shallow_copy_type", _compatible
        yield torch.nn.RNNBase, "flatten_parameters", lambda module: None
        clock = vars(time) | {"perf_counter": self._clock}
        yield timing, "time", SimpleNamespace(**clock)

    def _every_gpu(self, *_):
        raise AssertionError("random states of all GPUs are read, which sets all of them up")

    def _about(self, device):
        index = self.device(device).index
        self.asked[index] += 1
        return index

    def _synchronise(self, device):
        self.busy.discard(self._about(device))
        self._wait()

    def _clock(self):
        self.early += bool(self.busy)
        return time.perf_counter()

    # ---- moves ----

    def device(self, named):
        device = torch.device(named)
        if device.type == "cuda":
            device = torch.device("cuda", device.index or 0)
            if device.index >= self.count:
                raise RuntimeError("CUDA error: invalid device ordinal")
        return device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.Tensor.to, torch.Tensor.type_as):
            return self._moved(*args, **kwargs)
        if func in (torch.Tensor.cpu, torch.Tensor.cuda):
            given = args[1:] or (kwargs.get("device") or func.__name__,)
            return self._moved(args[0], *given)
        if func.__name__ in WHOLE:
            return self._whole(func, args, kwargs)
        if func is torch.Tensor.new_tensor:
            return self.copied(func(*args, **kwargs), args[0].device, new=True)
        asked = kwargs.get("device")
        if asked is not None and self.device(asked).type == "cuda":
            made = func(*args, **{k: v for k, v in kwargs.items() if k != "device"})
            return self.copied(made, self.device(asked), new=True)
        return func(*args, **kwargs)

    def _moved(self, tensor, *args, **kwargs):
        other = args[0] if args else kwargs.get("other")
        if isinstance(other, torch.Tensor):
            args, kwargs = (other.device, other.dtype), {}
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None and dtype != tensor.dtype:
            tensor = torch.Tensor.to(tensor, dtype)
        device = tensor.device if device is None else self.device(device)
        if device == tensor.device:
            return torch.Tensor.to(tensor, CPU, copy=True) if kwargs.get("copy") else tensor
        if device == CPU:
            assert not non_blocking, "what comes from a GPU is read before it has arrived"
        return Move.apply(tensor, device)

    def _whole(self, func, args, kwargs):
        tensors = [*tensors_in(args)]
        devices = {t.device for t in tensors if t.is_floating_point()}
        if len(devices) != 1:
            raise RuntimeError(f"{func.__name__}: tensors on {devices}")
        waits, (device,) = self.waits.copy(), devices
        args, kwargs = tree_map_only(Remote, lambda t: Move.apply(t, CPU), (args, kwargs))
        out = func(*args, **kwargs)
        if func.__name__ != "_pad_packed_sequence":
            out = tree_map_only(torch.Tensor, lambda t: Move.apply(t, device), out)
        else:  # the lengths stay on the host
            out = Move.apply(out[0], device), out[1]
        self.waits = waits
        return out

    def copied(self, tensor, device, new=False):
        if isinstance(tensor, Remote):
            self._read({tensor.device})
        host = tensor.host if isinstance(tensor, Remote) else tensor
        host = host.detach() if new else host.detach().clone()
        return host if device == CPU else Remote(host, device)

    # ---- operations ----

    def compute(self, func, args, kwargs):
        """One operation of which some tensor is on a GPU."""
        name = func.overloadpacket.__name__
        tensors = [*tensors_in((args, tuple(kwargs.values())))]
        there = [t.device for t in tensors if isinstance(t, Remote)]
        plain = replaced(tuple(args), Remote, lambda t: t.host)
        named = {key: replaced(v, Remote, lambda t: t.host) for key, v in kwargs.items()}
        if name == "copy_":
            return self._copy_(func, args, plain)
        # a backward formula begins with zeros, which are the host's here
        if torch._C._current_autograd_node() is None:
            self._refuse_mixed(func, name, tensors[: LENGTHS.get(name)])
        if name in READ or (name == "index" and self._by_mask(args[1])):
            self._read(set(there))
        else:
            self.busy.add(there[0].index)
        self.used[str(there[0])] += 1
        out = func(*plain, **named)
        if name in ("_local_scalar_dense", "equal"):
            return out
        if name == "_pack_padded_sequence":
            return Remote(out[0], there[0]), out[1]
        if name.endswith("_") and not name.endswith("__"):  # in place
            return args[0]
        return replaced(out, torch.Tensor, lambda t: Remote(t, there[0]))

    def _copy_(self, func, args, plain):
        to, of = args[0].device, args[1].device
        if to == CPU:
            assert not any(args[2:3]), "what comes from a GPU is read before it has arrived"
            self._read({of})
        else:
            self.busy.add(to.index)
        func(*plain)
        return args[0]

    def _refuse_mixed(self, func, name, tensors):
        first = next((t.device for t in tensors if t.dim()), tensors[0].device)
        if name.startswith(("index", "_index", "_unsafe_index")) and name != "index_select":
            # an index on the host will do on a GPU, not the other way round
            if tensors[0].device == CPU:
                raise RuntimeError(f"{func}: indices of a tensor on the host are on a GPU")
            return
        odd = {t.device for t in tensors if t.device != first}
        if name not in STRICT:
            odd = {t.device for t in tensors if t.device != first and (t.dim() or t.device != CPU)}
        if odd:
            shapes = [tuple(t.shape) for t in tensors]
            raise RuntimeError(f"{func}: tensors on {first} and {odd}, shapes {shapes}")

    @staticmethod
    def _by_mask(index):
        return any(i is not None and i.dtype == torch.bool for i in index)

    def _read(self, devices):
        """What the host asks for now, and waits for."""
        self.busy -= {device.index for device in devices}
        self._wait()

    def _wait(self):
        frame = sys._getframe(1)
        while frame:
            path = frame.f_code.co_filename
            of_us = path.startswith(f"{ROOT}/") and "/.venv/" not in path
            if of_us and not path.startswith(f"{ROOT}/tests/helpers/"):
                self.waits[path.removeprefix(f"{ROOT}/")] += 1
                return
            frame = frame.f_back


class Inner(TorchDispatchMode):
    """Tensors that torch's own functions make on a device."""

    def __init__(self, gpus):
        super().__init__()
        self.gpus = gpus

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        remote = any(isinstance(t, Remote) for t in tensors_in((args, tuple(kwargs.values()))))
        asked = kwargs.get("device")
        if asked is not None and self.gpus.device(asked).type == "cuda":
            kwargs = kwargs | {"device": CPU}
            if not remote:
                return Remote(func(*args, **kwargs), self.gpus.device(asked))
        return self.gpus.compute(func, args, kwargs) if remote else func(*args, **kwargs)
