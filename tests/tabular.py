"""A language small enough to write out: every string, its exact probability, reward and optimum.

Twelve tokens (eleven symbols and an end), up to `LENGTH` symbols, three prompts.  A policy is a
table of logits: the next token given the prompt, the place and the token before (a bigram whose
table may differ by place).  The reward of a string is a sum over its bigrams, so the optimum of
E[r] - beta KL, which is pi_ref exp(r / beta) over its sum, is such a table too and can be reached.

Everything is float64, and log-probs are normalised here by hand: this is the oracle.

Suffixes: P prompts, Y strings, L places, A the token before (0: nothing), V the next (0: the end).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from engine_cases import tokens
from palate.data.rows import Item, Origin
from palate.objectives import Objective, Scored

SYMBOLS, LENGTH, PROMPTS = 11, 4, 3
NEVER = -1e4  # a logit that is exactly 0 as a probability


@dataclass(frozen=True)
class Toy:
    """The language with its reference `base_PLAV` and the reward of every bigram."""

    base_PLAV: Tensor
    bigram_PLAV: Tensor

    @classmethod
    def draw(cls, *, seed: int = 0, length: int = LENGTH, prompts: int = PROMPTS) -> "Toy":
        """Logits and bigram rewards from a normal distribution."""
        made = torch.Generator().manual_seed(seed)
        shape = (prompts, length, SYMBOLS + 1, SYMBOLS + 1)
        base, bigram = (torch.randn(shape, generator=made, dtype=torch.float64) for _ in range(2))
        return cls(base, 0.7 * bigram)

    @property
    def prompts(self) -> int:
        return len(self.base_PLAV)

    @property
    def length(self) -> int:
        return self.base_PLAV.shape[1]

    @cached_property
    def strings(self) -> list[tuple[int, ...]]:
        """Every string, as symbols from 1 on; the end is not written."""
        symbols = range(1, SYMBOLS + 1)
        return [y for n in range(self.length + 1) for y in product(symbols, repeat=n)]

    @cached_property
    def places_YL(self) -> Tensor:
        """Index of each choice of each string in a flat table (L,A,V); past its end, one beyond."""
        width = SYMBOLS + 1
        found = np.full((len(self.strings), self.length), self.length * width * width)
        for row, y in zip(found, self.strings, strict=True):
            told = [0, *y, 0][: self.length + 1]
            for place in range(len(told) - 1):
                row[place] = (place * width + told[place]) * width + told[place + 1]
        return torch.from_numpy(found)

    def sums(self, table_PLAV: Tensor) -> Tensor:
        """Entries of a table summed over the choices of every string (P,Y)."""
        flat = table_PLAV.flatten(1)
        padded = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)
        return padded[:, self.places_YL].sum(-1)

    def logps(self, table_PLAV: Tensor) -> Tensor:
        """Log-prob of every string (P,Y); after `length` symbols the end is certain."""
        return self.sums(table_PLAV - table_PLAV.logsumexp(-1, keepdim=True))

    @cached_property
    def base_PY(self) -> Tensor:
        return self.logps(self.base_PLAV)

    @cached_property
    def reward_PY(self) -> Tensor:
        return self.sums(self.bigram_PLAV)

    # ------------------------------------------------------------ the optimum

    def log_partition(self, beta: float) -> Tensor:
        """log Z of each prompt (P,)."""
        return (self.base_PY + self.reward_PY / beta).logsumexp(-1)

    def optimum_PY(self, beta: float) -> Tensor:
        """log pi* of every string: Rafailov et al. 2023, eq. 4."""
        return self.base_PY + self.reward_PY / beta - self.log_partition(beta)[:, None]

    def figures(self, logps_PY: Tensor) -> tuple[float, float]:
        """(KL from the reference, reward), exact, the mean over prompts."""
        probs = logps_PY.exp()
        kl = (probs * (logps_PY - self.base_PY)).sum(-1).mean()
        return float(kl), float((probs * self.reward_PY).sum(-1).mean())

    def gap(self, logps_PY: Tensor, beta: float) -> float:
        """How far E[r] - beta KL lies below the best there is: beta KL(pi || pi*)."""
        kl, reward = self.figures(logps_PY)
        return float(beta * self.log_partition(beta).mean()) - (reward - beta * kl)

    @cached_property
    def _duals(self) -> list[tuple[float, float]]:
        """(beta, log Z of it, the mean over prompts)."""
        betas = np.geomspace(0.02, 50, 400).tolist()
        return [(beta, float(self.log_partition(beta).mean())) for beta in betas]

    def best_reward(self, kl: float) -> float:
        """The frontier: no policy at this KL has more reward (the dual, over a grid of betas)."""
        return min(beta * (partition + kl) for beta, partition in self._duals)

    # ------------------------------------------------------------ pairs and training

    def pairs(self, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """(prompts (I,), two strings each (I,2)) that the reference drew, which differ."""
        made = torch.Generator().manual_seed(seed)
        prompt_I = torch.randint(self.prompts, (2 * count,), generator=made)
        probs_PY, found = self.base_PY.exp(), torch.zeros(2 * count, 2, dtype=torch.int64)
        for prompt in range(self.prompts):
            mine = (prompt_I == prompt).nonzero()[:, 0]
            drawn = torch.multinomial(probs_PY[prompt], 2 * len(mine), True, generator=made)
            found[mine] = drawn.view(-1, 2)
        kept = (found[:, 0] != found[:, 1]).nonzero()[:count, 0]
        return prompt_I[kept], found[kept]

    def all_pairs(self) -> tuple[Tensor, Tensor]:
        """The same, every pair of strings once."""
        pair_I2 = torch.triu_indices(len(self.strings), len(self.strings), 1).T
        prompt_I = torch.arange(self.prompts).repeat_interleave(len(pair_I2))
        return prompt_I, pair_I2.repeat(self.prompts, 1)

    def wins(self, prompt_I: Tensor, pair_I2: Tensor) -> Tensor:
        """P(first wins) (I,) by Bradley-Terry at the true reward."""
        reward_I2 = self.reward_PY[prompt_I[:, None], pair_I2]
        return (reward_I2[:, 0] - reward_I2[:, 1]).sigmoid()

    def scored(self, table_PLAV: Tensor, prompt_I: Tensor, pair_I2: Tensor) -> Scored:
        """What an objective reads of these pairs."""
        index = prompt_I[:, None], pair_I2
        lengths_Y = torch.tensor([len(y) + 1 for y in self.strings])
        return Scored(
            self.logps(table_PLAV)[index],
            lengths_Y[pair_I2],
            self.base_PY[index],
            torch.ones(len(prompt_I), dtype=torch.float64),
        )

    def train(
        self,
        objective: Objective,
        data: tuple[Tensor, Tensor, Tensor],
        *,
        steps: int = 400,
        watch: Callable[[Tensor], None] = lambda table_PLAV: None,
    ) -> Tensor:
        """Log-probs (P,Y) after L-BFGS from the reference; `data`: prompts, pairs, P(first wins).

        The loss is expected over the verdict.  A certain verdict has P = 1.
        """
        prompt_I, pair_I2, wins_I = data
        table = self.base_PLAV.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [table],
            max_iter=steps,
            max_eval=3 * steps,
            history_size=30,
            tolerance_grad=1e-13,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            first = objective.loss(self.scored(table, prompt_I, pair_I2))
            second = objective.loss(self.scored(table, prompt_I, pair_I2.flip(-1)))
            loss = (wins_I * first + (1 - wins_I) * second).mean()
            loss.backward()
            watch(table.detach())
            return loss

        optimiser.step(cast(Any, closure))
        return self.logps(table.detach())

    # ------------------------------------------------------------ the same as a transformers model

    def token(self, prompt: int, place: int, symbol: int) -> int:
        """Says prompt, place and symbol at once, so that the token before is all the context."""
        return 1 + self.prompts + (prompt * self.length + place) * SYMBOLS + symbol - 1

    def items(self) -> list[Item]:
        """Every string after every prompt, as the engine takes them, prompt by prompt."""
        found = []
        for prompt, (n, y) in product(range(self.prompts), enumerate(self.strings)):
            said = [self.token(prompt, place, symbol) for place, symbol in enumerate(y)]
            found.append(Item((tokens([1 + prompt, *said, 0], 1),), prompt, Origin("toy", n + 1)))
        return found

    def model(self, table_PLAV: Tensor) -> LlamaForCausalLM:
        """The table as a Llama without layers: one-hot embeddings, and the logits as its head."""
        size = self.token(self.prompts - 1, self.length - 1, SYMBOLS) + 1
        width = size + size % 2
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=width,
            intermediate_size=2,
            num_hidden_layers=0,
            num_attention_heads=1,
            max_position_embeddings=16,
            tie_word_embeddings=False,
        )
        made: Any = LlamaForCausalLM(config).double().eval()
        normed = (1 / width + config.rms_norm_eps) ** -0.5
        with torch.no_grad():
            made.model.embed_tokens.weight.copy_(torch.eye(size, width))
            made.model.norm.weight.fill_(1.0)
            made.lm_head.weight.copy_(self._head(table_PLAV, size, width) / normed)
        return cast(LlamaForCausalLM, made)

    def _head(self, table_PLAV: Tensor, size: int, width: int) -> Tensor:
        """Logits (next token, token before); a token of another prompt or place never follows."""
        head = torch.full((size, width), NEVER, dtype=torch.float64)
        for prompt, place in product(range(self.prompts), range(self.length + 1)):
            for symbol in range(1, SYMBOLS + 1) if place else [0]:
                before = self.token(prompt, place - 1, symbol) if place else 1 + prompt
                head[0, before] = 0.0
                if place < self.length:
                    first = self.token(prompt, place, 1)
                    head[0, before] = table_PLAV[prompt, place, symbol, 0]
                    head[first : first + SYMBOLS, before] = table_PLAV[prompt, place, symbol, 1:]
        return head
