"""Devices without one: two pretended GPUs, of which the second is asked for (helpers/gpus.py)."""

import re
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import cost, devices, speed_bench, speed_exits, timing
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.daisy import entropy
from helpers import ROOT, TOY, items_of, wav
from helpers.rows import result
from toys.toy import Toy

AT = "cuda:1"
LENGTHS = torch.tensor([16_000, 9_999, 12_800])


def batch():
    rows = [wav(n, seed) for seed, n in enumerate(LENGTHS.tolist())]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


# ---- what the pretended ones notice --------------------------------------------------------------


def test_two_devices_in_one_operation_are_noticed(gpus):
    there, here, other = torch.ones(2, device=AT), torch.ones(2), torch.ones(2, device="cuda")
    assert there.device == torch.device(AT) and other.device == torch.device("cuda:0")
    assert (there + torch.tensor(1.0)).tolist() == [2, 2]  # a number on the host will do
    layer = torch.nn.Linear(2, 1)
    for mixed in (
        lambda: there + here,
        lambda: there * other,
        lambda: layer(there),
        lambda: here[torch.zeros(1, dtype=torch.long, device=AT)],
        lambda: torch.cat([there, torch.ones(2)]),
    ):
        with pytest.raises(RuntimeError, match="on a GPU|cuda"):
            mixed()
    for read in (there.numpy, lambda: there.to("cpu", non_blocking=True)):
        with pytest.raises((TypeError, AssertionError), match="numpy|arrived"):
            read()


def test_a_clock_that_does_not_wait_is_noticed(gpus):
    torch.ones(2, device=AT) + 1
    timing.time.perf_counter()
    assert gpus.early == 1
    timing.synchronise("cuda:0")  # the wrong one
    timing.time.perf_counter()
    assert gpus.early == 2
    timing.synchronise(AT)
    timing.time.perf_counter()
    assert gpus.early == 2


def test_a_network_learns_there_what_it_learns_here(gpus):
    def learnt(device):
        torch.manual_seed(0)
        model = torch.nn.ModuleList([torch.nn.Linear(3, 4), torch.nn.LSTM(4, 2)]).to(device)
        optimiser = torch.optim.Adam(model.parameters(), 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            model[1](model[0](torch.ones(5, 3, device=device)))[0].square().sum().backward()
            optimiser.step()
        assert {p.device.type for p in model.parameters()} == {torch.device(device).type}
        return [p.detach().cpu() for p in model.parameters()]

    assert all(map(torch.equal, learnt("cpu"), learnt(AT)))


# ---- upstreams -----------------------------------------------------------------------------------


@pytest.fixture
def readme(tmp_path):
    """The example of README.md, as a file."""
    [text] = re.findall(r"```python\n(# mine.py\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    (tmp_path / "mine.py").write_text(text)
    return f"{tmp_path / 'mine.py'}:Mine"


CONTRACT = f"{ROOT / 'tests' / 'toys' / 'contract.py'}:"
STUDENT = f"{ROOT / 'tests' / 'toys' / 'student.py'}:Student"
UPSTREAMS = ["README", TOY, STUDENT, "daisy.tiny", "margin", "patience", "layer_similarity"]
UPSTREAMS += ["block_plan"]
UPSTREAMS += [CONTRACT + name for name in ("SelfAnswering", "AnswersAfterwards", "Halved", "Slow")]


@pytest.mark.parametrize("name", UPSTREAMS, ids=lambda name: name.split("/")[-1])
def test_an_upstream_follows_its_input(gpus, readme, name):
    """Its exits are those of the CPU, and the host waits once for each tested depth."""
    upstream = build_upstream(readme if name == "README" else name).requires_grad_(False)
    wavs, last = batch(), upstream.card.depth
    here = run_until_exit(upstream, wavs, LENGTHS, Exit((last,)))
    upstream = upstream.to(AT)
    there = run_until_exit(upstream, wavs.to(AT), LENGTHS, Exit((last,)))
    assert there.states.device == torch.device(AT) == there.frames.device
    for row, n in enumerate(there.frames.tolist()):
        torch.testing.assert_close(there.states[:, row, :n].cpu(), here.states[:, row, :n])
    assert Parameters(upstream).all == Parameters(upstream.cpu()).all > 0
    if upstream.knob:
        exit, upstream = Exit(leaving(upstream), 0.0), upstream.to(AT)
        gpus.waits.clear()
        run_until_exit(upstream, wavs.to(AT), LENGTHS, exit)
        assert gpus.waits.pop("benchmark/exiting.py") == len(exit.tested)


def test_entropy_does_not_heed_autocast():
    logits = torch.randn(20, 500, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = entropy(logits)
    assert torch.equal(lowered, entropy(logits)) and lowered.dtype == torch.float32


@pytest.mark.parametrize("name", ["daisy.tiny", "margin", "layer_similarity", TOY])
def test_evidence_in_bfloat16_is_not_rounded_to_it(name):
    """As on a GPU, so on a CPU: an entropy of eight bits has few values for a threshold."""
    low = at_precision(build_upstream(name).requires_grad_(False), "bf16")
    out = run_until_exit(low, batch(), LENGTHS, Exit((2,)))
    values = low.evidence(2, out.states[2], out.states[1], out.frames)
    assert values.dtype == torch.float32 and not torch.equal(values, values.bfloat16().float())


# ---- clocks --------------------------------------------------------------------------------------


def test_clocks_wait_for_the_device_that_is_asked_for(gpus, tmp_path):
    items, load = items_of(tmp_path, (9_000, 7_000))
    toy = Toy().requires_grad_(False).to(AT)
    seconds = cost.seconds(toy, items, load, {"1": Exit((1,)), "full": Exit((3,))}, AT, 2)
    assert cost.peak_memory(toy, items, load, Exit((3,)), AT) == 4  # 2 MiB a GPU's number
    bench = speed_bench.Bench(toy, "fp32", AT, [load(i).wav.to(AT) for i in items], 2)
    rows, _ = speed_exits.exits(bench)
    assert seconds["1"].shape == (2, 2) and {row["device"] for row in rows} == {"GPU 1"}
    assert gpus.early == 0 and set(gpus.asked) == {1} and set(gpus.used) == {AT}


# ---- which devices there are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mps", "meta", "xpu", "vulkan", "cpu:1", "cuda:x", "gpu", "", "hpu"]
)
@pytest.mark.parametrize("verb", [[], ["speed"], ["train", "daisy.tiny", "--out", "x"]])
def test_a_device_that_nobody_can_use_is_one_sentence(capsys, name, verb):
    asked = verb or ["--upstream", TOY, "--task", "se"]
    assert main([*asked, "--device", name]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --device is cpu, cuda or cuda:N") and told.count("\n") == 1


def test_gpus_are_counted_and_tried(gpus, monkeypatch):
    devices.check_device(AT)
    with pytest.raises(UsageError, match=r"torch sees 2 CUDA devices here.* cuda:1$"):
        devices.check_device("cuda:7")

    def too_old(*size, device):
        raise RuntimeError("CUDA error: no kernel image is available\nfor this device")

    monkeypatch.setattr(torch, "ones", too_old)
    with pytest.raises(MachineError, match=r"cuda:1: torch cannot compute .*no kernel image.*\)"):
        devices.check_device(AT)


def test_from_python_it_is_the_same_sentence(corpus, tmp_path):
    import earlyexit_superb

    with pytest.raises(UsageError, match="not 'mps'"):
        earlyexit_superb.run(TOY, "se", data=corpus, device="mps", results=tmp_path)


def test_processes_of_a_torchrun_share_no_gpu(gpus, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    for name, said in (("cuda:0", "cannot share one GPU"), ("cuda", "start at most 2")):
        with pytest.raises(UsageError, match=said), distributed.joined(name):
            pass


# ---- whose numbers a table shows -----------------------------------------------------------------


def test_rows_that_do_not_say_where_they_were_made_are_not_said_to_be_of_elsewhere():
    """Of an old or edited row either device may be missing."""
    here = timing.hardware("cpu")
    for device, training in (
        (None, {"device": "Other"}),
        (here, {"device": None}),
        (here, {}),
        (here, None),
    ):
        made = replace(result(device=device), detail={"training": training})
        assert list(devices.made_elsewhere([made], "cpu")) == []
    made = replace(result(device=here), detail={"training": {"device": "Other"}})
    assert "trained on Other" in next(devices.made_elsewhere([made], "cpu"))
