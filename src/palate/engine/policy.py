"""The policy: trunk, head and chunked log-prob in ONE nn.Module, so that sharding sees one forward.

`forward(row)` gives the log-prob of every sequence of a packed row.  A `Plan` says which fast parts
this architecture has earned (`selfcheck.py`); each part that fails is replaced by the plain path.

Shape suffixes: T packed tokens, K scored tokens, S sequences, D hidden, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

from palate.engine import attention, fused
from palate.engine.logprob import (
    Head,
    Statistics,
    linear_logprob,
    logits_logprob,
    logits_statistics,
    statistics,
)
from palate.engine.pack import Ints, Row


@dataclass(frozen=True, slots=True)
class Plan:
    """Which fast parts are used, and why a part is not."""

    shared: bool = True
    chunked: bool = True
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            "prefix sharing and packing" if self.shared else "one sequence at a time",
            "chunked vocabulary" if self.chunked else "full logits",
        ]
        return ", ".join(parts) + "".join(f"; {reason}" for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Output:
    """`logps_S` sums `logps_K` over the incidences of `row` (the row as it was really laid).

    `states_KD`: the last hidden state, after the final norm, from which each token was predicted.
    """

    logps_S: Tensor
    logps_K: Tensor
    row: Row
    statistics: Statistics | None = None
    states_KD: Tensor | None = None

    def state_sums(self) -> Tensor:
        """`states_KD` summed over the scored tokens of each sequence (S,D), in fp32 or wider."""
        assert self.states_KD is not None, "the forward was not asked for states"
        wide = torch.promote_types(self.states_KD.dtype, torch.float32)
        return per_sequence(self.states_KD.to(wide), self.row)


class Policy(nn.Module):
    """A causal language model read as log-probs of packed rows."""

    def __init__(self, model: nn.Module, plan: Plan | None = None) -> None:
        super().__init__()
        self.model = model
        self.plan = plan or Plan()
        self.core = _core(model)
        self.plain_attention = _own_attention(self.core)

    def forward(
        self, row: Row, *, with_statistics: bool = False, with_states: bool = False
    ) -> Output:
        """Log-probs of the row's sequences, in fp32 or wider.

        `with_states` keeps the hidden states that are read anyway.
        """
        row = row if self.plan.shared else row.unshared()
        source_K, target_K = self._tensor(row.source_K), self._tensor(row.target_K)
        extra, states_KD = None, None
        if self.plan.chunked:
            hidden_KD = self._hidden(row)[source_K]
            logps_K = linear_logprob(hidden_KD, self.head(), target_K)
            extra = statistics(hidden_KD.detach(), self.head()) if with_statistics else None
            states_KD = hidden_KD if with_states else None
        else:
            logits_TV, hidden_TD = self._logits(row, with_states=with_states)
            logits_KV = logits_TV[source_K]
            logps_K = logits_logprob(logits_KV, target_K)
            extra = logits_statistics(logits_KV) if with_statistics else None
            states_KD = None if hidden_TD is None else hidden_TD[source_K]
        return Output(per_sequence(logps_K, row), logps_K, row, extra, states_KD)

    def ends(self, row: Row) -> Tensor:
        """The last hidden state, after the final norm, at the last token of each sequence (S,D).

        In the order of `logps_S`, gradient attached: what a reward model reads.
        """
        row = row if self.plan.shared else row.unshared()
        last_S = self._tensor(np.array([path[-1] for path in row.paths]))
        if self.plan.chunked:
            return self._hidden(row)[last_S]
        hidden_TD = self._logits(row, with_states=True)[1]
        assert hidden_TD is not None
        return hidden_TD[last_S]

    def predictions(self, row: Row) -> tuple[Tensor, Head | None]:
        """What the distribution over each scored token is read from: states (K,D) and their head.

        Under a plan with full logits these (K,V) themselves, and no head.  A row that is not
        `unshared` keeps its K only under a plan that shares.
        """
        row = row if self.plan.shared else row.unshared()
        source_K = self._tensor(row.source_K)
        if self.plan.chunked:
            return self._hidden(row)[source_K], self.head()
        return self._logits(row, with_states=False)[0][source_K], None

    def head(self) -> Head:
        """The projection, with the logit scale, soft-cap and bias that this family applies."""
        config, layer = self.core.config, self.core.get_output_embeddings()
        scale = getattr(config, "logit_scale", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        softcap = getattr(config, "final_logit_softcapping", None)
        return Head(layer.weight, getattr(layer, "bias", None), scale, softcap)

    def _hidden(self, row: Row) -> Tensor:
        """Final hidden states (T, D): the whole row at once, or one chain after another."""
        trunk = self.core.base_model
        if self.plan.shared:
            tree = attention.tree(row.pos_T, row.end_T)
            found = self._run(trunk, row.ids_T, row.pos_T, palate_tree=tree)
            hidden_TD: Tensor = found.last_hidden_state[0]
            return hidden_TD
        chains = [self._run(trunk, row.ids_T[path]).last_hidden_state[0] for path in row.paths]
        return torch.cat(chains)

    def _logits(self, row: Row, *, with_states: bool) -> tuple[Tensor, Tensor | None]:
        """The model's own logits (T, V), and the states they came from (T, D)."""
        kwargs: dict[str, Any] = {"output_hidden_states": True} if with_states else {}
        if self.plan.shared:
            tree = attention.tree(row.pos_T, row.end_T)
            found = [self._run(self.core, row.ids_T, row.pos_T, palate_tree=tree, **kwargs)]
        else:
            found = [self._run(self.core, row.ids_T[path], **kwargs) for path in row.paths]
        logits_TV = torch.cat([part.logits[0] for part in found])
        states = [part.hidden_states[-1][0] for part in found] if with_states else []
        return logits_TV, torch.cat(states) if states else None

    def _run(self, module: nn.Module, ids: Ints, pos: Ints | None = None, **kwargs: Any) -> Any:
        """One forward of a batch of one, with tree attention where `kwargs` bring a tree."""
        if "palate_tree" in kwargs:
            self._take_fast_path()
        else:
            self.restore()
        if pos is not None:
            kwargs["position_ids"] = self._tensor(pos)[None]
        return module(input_ids=self._tensor(ids)[None], use_cache=False, **kwargs)

    def _take_fast_path(self) -> None:
        """Tree attention, and modules with fewer passes where they are equal."""
        if self.core.config._attn_implementation != attention.NAME:
            self.core.set_attn_implementation(attention.NAME)
        fused.apply(self.core)

    def restore(self) -> None:
        """Give the model its own attention and modules back, for generation or the plain path."""
        if self.core.config._attn_implementation != self.plain_attention:
            self.core.set_attn_implementation(self.plain_attention)
        fused.remove(self.core)

    def _tensor(self, values: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def per_sequence(values_K: Tensor, row: Row) -> Tensor:
    """Values (K,) or (K,D) of scored tokens summed over the incidences of each sequence (S,...)."""
    token_E, seq_E = (
        torch.from_numpy(index).to(values_K.device) for index in (row.token_E, row.seq_E)
    )
    empty = values_K.new_zeros(row.sequences, *values_K.shape[1:])
    return empty.index_add(0, seq_E, values_K[token_E])


def recompute_activations(core: Any) -> None:
    """Gradient checkpointing: less memory, more time, the same gradient."""
    # transformers renamed it on the way to v6; both names take these arguments
    name = "activation_checkpointing_enable"
    enable = getattr(core, name, None) or core.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    core.enable_input_require_grads()


def _own_attention(core: Any) -> str:
    """What the model came with, even if an earlier policy registered ours."""
    name: str = core.config._attn_implementation
    if name == attention.NAME:
        return str(getattr(core, "_palate_own_attention", "eager"))
    core._palate_own_attention = name
    return name


def _core(model: nn.Module) -> Any:
    """The transformers model inside, adapters injected in place or not there at all."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
