"""Is the fast path exact on this architecture?  If not, which part falls back, and why.

Two looks.  *Structure*: a shrunken copy of the config, wide random weights, wide float64, packed
and shared and chunked against plain `model(ids)`, in value and gradient to 1e-9; half precision
cannot hide a leak there.  *Real rows*: the loaded model, fast against plain; the difference must
lie within twice the noise floor, which is plain against plain with other padding.  LoRA's B is
perturbed for it, since B = 0 hides an adapter that is ignored.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.logprob import logits_logprob
from palate.engine.pack import pack
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64
from palate.engine.scoring import in_order, score_rows

STRUCTURE_TOLERANCE = 1e-9
VALUE_FLOOR = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
GRADIENT_FACTOR = 20
ROW_LENGTH_ROTARY = {"longrope", "dynamic"}
VOCABULARY, WINDOW = 64, 6
CHECKED = 3


def plan_for(model: nn.Module, items: Sequence[Item]) -> Plan:
    """The fastest plan that passes both looks, checked on the `CHECKED` shortest items."""
    few = sorted(items, key=lambda item: sum(len(s.ids) for s in item.sequences))[:CHECKED]
    reasons: list[str] = []
    for shared, chunked in ((True, True), (False, True), (False, False)):
        plan = Plan(shared, chunked, tuple(reasons))
        fault = structure_fault(Policy(model).core.config, plan) or _real(model, few, plan)
        if fault is None:
            return plan
        part = (
            "sharing and packing" if shared else "chunked vocabulary" if chunked else "full logits"
        )
        reasons.append(f"{part}: {fault}")
    return Plan(False, False, tuple(reasons))


def structure_fault(config: PretrainedConfig, plan: Plan) -> str | None:
    """Why the plan is not exact on a shrunken copy of this architecture, or None."""
    kinds = _rope_kinds(config) & ROW_LENGTH_ROTARY
    if plan.shared and kinds:
        return f"rotary scaling '{kinds.pop()}' reads the length of the row"
    with wide_float64(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = _shrunken(config)
            difference = _difference(model, _made_up_items(), plan)
        except Exception as error:
            return f"the architecture does not take it ({type(error).__name__}: {_short(error)})"
    if difference > STRUCTURE_TOLERANCE:
        return f"differs from the plain path by {difference:.1e} in float64"
    return None


def _real(model: nn.Module, items: Sequence[Item], plan: Plan) -> str | None:
    """Why the plan is not exact on real rows of the loaded model, or None."""
    dtype = next(model.parameters()).dtype
    with _wide_adapters(model):
        try:
            fast, fast_grad = _fast(model, items, plan)
        except Exception as error:
            return f"it fails on real rows ({type(error).__name__}: {_short(error)})"
        plain, plain_grad = _plain(model, items)
        floor = _relative(_padded(model, items), plain)
    allowed = max(2 * floor, VALUE_FLOOR[dtype])
    difference = _relative(fast, plain)
    if not difference <= allowed:
        return f"log-probs of real rows differ by {difference:.1e} (allowed {allowed:.1e})"
    if fast_grad.keys() != plain_grad.keys():
        return "other parameters receive a gradient than on the plain path"
    worst = _gradient_difference(fast_grad, plain_grad)
    if not worst <= GRADIENT_FACTOR * allowed:
        return f"gradients of real rows differ by {worst:.1e}"
    return None


def _difference(model: nn.Module, items: Sequence[Item], plan: Plan) -> float:
    """Largest relative difference, value or gradient, between the plan and the plain path."""
    fast, fast_grad = _fast(model, items, plan)
    plain, plain_grad = _plain(model, items)
    if fast_grad.keys() != plain_grad.keys():
        return float("inf")
    return max(_against_spread(fast, plain), _gradient_difference(fast_grad, plain_grad))


def _fast(model: nn.Module, items: Sequence[Item], plan: Plan) -> tuple[Tensor, dict[str, Tensor]]:
    policy = Policy(model, plan)
    budget = 2 * max(len(s.ids) for item in items for s in item.sequences)
    with _clean_gradients(model):
        rows = list(score_rows(policy, pack(items, budget)))
        logps = in_order(rows, len(items))
        _pull(logps)
        policy.restore()
        return logps.detach(), _gradients(model)


def _plain(model: nn.Module, items: Sequence[Item]) -> tuple[Tensor, dict[str, Tensor]]:
    """The oracle: every sequence alone through `model(ids)`, full logits."""
    core = Policy(model).core
    with _clean_gradients(model):
        found = []
        for sequence in (s for item in items for s in item.sequences):
            ids = torch.tensor(sequence.ids, device=core.device)
            logits = core(input_ids=ids[None], use_cache=False).logits[0]
            places = torch.cat([torch.arange(a, b, device=core.device) for a, b in sequence.spans])
            found.append(logits_logprob(logits[places - 1], ids[places]).sum())
        logps = torch.stack(found).view(len(items), -1)
        _pull(logps)
        return logps.detach(), _gradients(model)


@torch.no_grad()
def _padded(model: nn.Module, items: Sequence[Item]) -> Tensor:
    """The plain path again with right padding: how much do equal computations differ here?"""
    core = Policy(model).core
    found = []
    for sequence in (s for item in items for s in item.sequences):
        ids = torch.tensor(sequence.ids, device=core.device)
        padded = torch.cat([ids, ids[:1].expand(7)])
        mask = torch.arange(len(padded), device=core.device) < len(ids)
        logits = core(input_ids=padded[None], attention_mask=mask[None], use_cache=False).logits[0]
        places = torch.cat([torch.arange(a, b, device=core.device) for a, b in sequence.spans])
        found.append(logits_logprob(logits[places - 1], ids[places]).sum())
    return torch.stack(found).view(len(items), -1)


def _pull(logps: Tensor) -> None:
    """Backward under a different weight on every sequence, both signs: no two errors cancel."""
    if logps.requires_grad:
        weights = torch.linspace(1.0, -0.7, logps.numel()).view_as(logps).to(logps)
        (logps * weights).sum().backward()


def _relative(values: Tensor, truth: Tensor) -> float:
    """Largest difference relative to the size of the log-prob (rounding grows with it)."""
    return float(((values - truth).abs() / (truth.abs() + 1)).max())


def _against_spread(values: Tensor, truth: Tensor) -> float:
    """Difference relative to the spread between sequences: equal answers to all prove nothing."""
    return float((values - truth).abs().max() / truth.std())


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _gradient_difference(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """Largest difference over parameters, relative to its norm; noise-only ones to the whole."""
    if not want:  # a model that is only read
        return 0.0
    total = float(torch.stack([g.double().norm() for g in want.values()]).norm())
    return max(
        float((got[n].double() - g.double()).norm() / max(float(g.double().norm()), 1e-3 * total))
        for n, g in want.items()
    )


@contextmanager
def _clean_gradients(model: nn.Module) -> Iterator[None]:
    """Nothing that the check does may stay behind in `.grad`."""
    model.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)


@contextmanager
def _wide_adapters(model: nn.Module) -> Iterator[None]:
    """Give LoRA's B matrices seeded random values while the block runs, then the old ones back."""
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_B" in n}
    parameters = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in kept.items():
            noise = torch.randn(value.shape, generator=generator) * 0.02
            parameters[name].add_(noise.to(value))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in kept.items():
                parameters[name].copy_(value)


def _shrunken(config: PretrainedConfig) -> nn.Module:
    """A small model of the same architecture: few layers, small vocabulary, weights drawn wide."""
    small: Any = copy.deepcopy(config)
    for name in ("quantization_config", "pad_token_id", "bos_token_id", "eos_token_id"):
        if hasattr(small, name):
            setattr(small, name, None)
    small.vocab_size = VOCABULARY
    if getattr(small, "sliding_window", None):
        small.sliding_window = WINDOW
    kinds = getattr(small, "layer_types", None)
    layers = min(small.num_hidden_layers, _layers_that_show_all(kinds))
    if kinds and not isinstance(getattr(type(small), "layer_types", None), property):
        small.layer_types = list(kinds[:layers])
    small.num_hidden_layers = layers
    if getattr(small, "intermediate_size", 0) and hasattr(small, "num_attention_heads"):
        small.intermediate_size = min(small.intermediate_size, 64)
    small.dtype = torch.float64
    factory: Any = AutoModelForCausalLM
    model: nn.Module = factory.from_config(small).double()
    for parameter in model.parameters():
        _draw_wide(parameter)
    _use_eager_experts(model)
    return model.eval()


def _draw_wide(parameter: Tensor) -> None:
    """Matrices so that activations keep their size, vectors away from 0 and 1."""
    with torch.no_grad():
        if parameter.dim() > 1:
            parameter.normal_(0, 1.5 * parameter.shape[-1] ** -0.5)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.2)


def _use_eager_experts(model: Any) -> None:
    """Grouped expert kernels have no float64."""
    if getattr(model.config, "num_local_experts", None) or getattr(
        model.config, "num_experts", None
    ):
        model.set_experts_implementation("eager")


def _layers_that_show_all(kinds: Sequence[str] | None) -> int:
    """Two layers, or as many from the bottom as show every kind of layer."""
    if not kinds:
        return 2
    return max(2, 1 + max(list(kinds).index(kind) for kind in set(kinds)))


def _rope_kinds(config: Any) -> set[str]:
    """Every rotary scaling that the config names, whatever the nesting."""
    found: set[str] = set()
    stack = [getattr(config, "rope_parameters", None), getattr(config, "rope_scaling", None)]
    while stack:
        entry = stack.pop()
        if isinstance(entry, dict):
            stack += entry.values()
            found |= {str(entry[k]) for k in ("rope_type", "type") if k in entry}
    return found


def _made_up_items() -> list[Item]:
    """Trees with shared starts of completions, unequal lengths, longer than the window."""
    rng, items = np.random.default_rng(0), []
    for group in range(3):
        prompt = tuple(int(x) for x in rng.integers(3, VOCABULARY, 4 + 5 * group))
        for _ in range(2):
            sides = [
                tuple(int(x) for x in rng.integers(3, 6, 3 + n)) for n in rng.integers(0, 9, 2)
            ]
            items.append(
                Item(
                    tuple(
                        Tokens(prompt + s, ((len(prompt), len(prompt) + len(s)),), len(prompt))
                        for s in sides
                    ),
                    group,
                    Origin("made up", 0),
                )
            )
    return items


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else "no message"
