"""The machine: its name, its best fp32 product, the model on disk, and what a process has used."""

import itertools
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch
from workload import EOS, PAD, Shape


def use_threads(count: int) -> None:
    """Both tools get the same number of threads."""
    torch.set_num_threads(count)
    torch.set_num_interop_threads(1)


def describe() -> dict[str, str]:
    """Processor, cores and memory as the operating system tells them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
    }


def cpu_seconds() -> float:
    """User and system time of this process, all its threads and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class StepClock:
    """Wall and CPU seconds of each optimiser step, from the end of one to the end of the next."""

    def __init__(self) -> None:
        self.wall, self.cpu = [time.perf_counter()], [cpu_seconds()]

    def tick(self) -> None:
        """An optimiser step has ended."""
        self.wall.append(time.perf_counter())
        self.cpu.append(cpu_seconds())

    def measured(self) -> dict[str, Any]:
        """All but the first step, and the memory so far."""
        wall, cpu = (
            [after - before for before, after in itertools.pairwise(times[1:])]
            for times in (self.wall, self.cpu)
        )
        return {"seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak_bytes()}


@torch.no_grad()
def matrix_rate(shape: Shape, *, tokens: int = 1024, seconds: float = 4.0) -> float:
    """Best fp32 rate (floating-point operations per second) over the products a step is made of."""
    d, f, v = shape.hidden, shape.ffn, shape.vocab
    products = [(tokens, d, f), (tokens, f, d), (tokens, d, d), (f, tokens, d), (tokens // 2, d, v)]
    return max(_rate(*product, seconds / len(products)) for product in products)


def _rate(m: int, k: int, n: int, seconds: float) -> float:
    a, b, out = torch.randn(m, k), torch.randn(n, k), torch.empty(m, n)
    best, stop = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < stop:
        start = time.perf_counter()
        torch.mm(a, b.T, out=out)
        best = max(best, 2 * m * k * n / (time.perf_counter() - start))
    return best


@torch.no_grad()
def make_model(shape: Shape, folder: Path, seed: int) -> None:
    """Save a Llama whose logits spread by about two nats: a flat one would hide mistakes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=EOS,
        eos_token_id=EOS,
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter.add_(0.1 * noise)
        else:
            wide = 2.0 if "embed" in name else 1.0
            parameter.copy_(wide * noise * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
