"""One step of every online method, the slow way: padded batches through transformers, plain loops.

Nothing of palate's is used but the texts that were drawn.  Float64, autograd, one number at a time.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Text = tuple[tuple[int, ...], tuple[int, ...]]  # ids of the prompt, ids that were drawn


@dataclass
class Naive:
    """A model in training, its frozen twin, a linear value head, and two optimisers."""

    model: Any
    twin: Any
    method: str
    knobs: dict[str, float]
    passes: int
    n: int
    lr: float
    value_lr: float
    clip_norm: float = 1.0
    value_clip: float = 0.2
    weight: Tensor = field(init=False)
    bias: Tensor = field(init=False)

    def __post_init__(self) -> None:
        width = self.model.config.hidden_size
        self.weight = torch.zeros(width, dtype=torch.float64, requires_grad=True)
        self.bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        plain: dict[str, Any] = {"foreach": False, "fused": False, "weight_decay": 0.0}
        self.adam = torch.optim.AdamW(self.trained, lr=self.lr, **plain)
        self.value_adam = torch.optim.AdamW([self.weight, self.bias], lr=self.value_lr, **plain)

    def step(self, texts: list[Text], paid: list[float]) -> dict[str, float]:
        """Learn from texts (those of a prompt stand together); every figure that is logged."""
        with torch.no_grad():
            old, values = self.read(self.model, texts)
            reference, _ = self.read(self.twin, texts)
            entropy = self.entropy(texts)
        old, values = [t.clone() for t in old], [v.clone() for v in values]
        advantages, returns = self.targets(paid, old, reference, values)
        policy_losses, value_losses, norms, clipped = [], [], [], 0
        for _ in range(self.passes):
            now, now_values = self.read(self.model, texts)
            policy, value, hits = self.loss(
                (now, now_values), (old, reference, values), (advantages, returns)
            )
            self.adam.zero_grad()
            self.value_adam.zero_grad()
            (policy + value).backward()
            norms.append(self.clip_and_move())
            policy_losses.append(float(policy.detach()))
            value_losses.append(float(torch.as_tensor(value).detach()))
            clipped += hits
        kl = [float((o - r).sum()) for o, r in zip(old, reference)]
        tokens = sum(len(drawn) for _, drawn in texts)
        flat = torch.cat(advantages)
        price = self.knobs.get("kl", 0.0)
        found = {
            "kl": sum(kl) / len(kl),
            "reward": sum(p - price * k for p, k in zip(paid, kl)) / len(kl),
            "policy_loss": sum(policy_losses) / self.passes,
            "clip_fraction": clipped / (tokens * self.passes),
            "advantage_std": float(flat.std(correction=0)),
            "entropy": entropy,
            "length": tokens / len(texts),
            "grad_norm": sum(norms) / self.passes,
        }
        if self.method == "ppo":
            found["value_loss"] = sum(value_losses) / self.passes
            found["explained"] = self.explained(paid, old, reference, values)
        return found

    # ---- reading

    def read(self, model: Any, texts: list[Text]) -> tuple[list[Tensor], list[Tensor]]:
        """Log-prob and value of each drawn token: one padded batch, full logits."""
        whole = [prompt + drawn for prompt, drawn in texts]
        width = max(map(len, whole))
        ids = torch.tensor([ids + (2,) * (width - len(ids)) for ids in whole])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in whole])
        out = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        logps, values = [], []
        for row, (prompt, drawn) in enumerate(texts):
            one, worth = [], []
            for place, token in enumerate(drawn):
                before = len(prompt) + place - 1
                one.append(out.logits[row, before].log_softmax(-1)[token])
                state = out.hidden_states[-1][row, before].detach()
                worth.append((state * self.weight).sum() + self.bias)
            logps.append(torch.stack(one))
            values.append(torch.stack(worth))
        return logps, values

    def entropy(self, texts: list[Text]) -> float:
        """Mean over the drawn tokens, nats."""
        total, count = 0.0, 0
        for prompt, drawn in texts:
            logits = self.model(input_ids=torch.tensor([prompt + drawn])).logits[0]
            for place in range(len(drawn)):
                logp = logits[len(prompt) + place - 1].log_softmax(-1)
                total -= float((logp.exp() * logp).sum())
                count += 1
        return total / count

    # ---- what is wanted

    def rewards(
        self, paid: list[float], old: list[Tensor], reference: list[Tensor]
    ) -> list[list[float]]:
        """Per token: the KL penalty, and at the last one what the text is paid."""
        found = []
        for score, mine, theirs in zip(paid, old, reference):
            each = [-self.knobs["kl"] * float(m - t) for m, t in zip(mine, theirs)]
            each[-1] += score
            found.append(each)
        return found

    def targets(
        self, paid: list[float], old: list[Tensor], reference: list[Tensor], values: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        groups = [paid[at : at + self.n] for at in range(0, len(paid), self.n)]
        lengths = [len(each) for each in old]
        if self.method == "ppo":
            return self.gae(self.rewards(paid, old, reference), values)
        if self.method == "rloo":
            shaped = [sum(each) for each in self.rewards(paid, old, reference)]
            groups = [shaped[at : at + self.n] for at in range(0, len(shaped), self.n)]
            one = [g - (sum(group) - g) / (self.n - 1) for group in groups for g in group]
        elif self.method == "grpo":
            one = []
            for group in groups:
                mean = sum(group) / self.n
                spread = math.sqrt(sum((g - mean) ** 2 for g in group) / (self.n - 1))
                one += [(g - mean) / (spread + 1e-4) for g in group]
        else:
            one = [float((a > b) - (a < b)) * side for a, b in groups for side in (1, -1)]
        spread_out = [
            torch.full((length,), value, dtype=torch.float64) for length, value in zip(lengths, one)
        ]
        return spread_out, []

    def gae(
        self, rewards: list[list[float]], values: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Schulman et al. 2016, the sum written out, then whitened over all tokens."""
        gamma, lam = self.knobs["gamma"], self.knobs["lam"]
        advantages, returns = [], []
        for reward, value in zip(rewards, values):
            size = len(reward)
            after = [*value.tolist()[1:], 0.0]
            delta = [reward[t] + gamma * after[t] - float(value[t]) for t in range(size)]
            one = [
                sum((gamma * lam) ** (later - t) * delta[later] for later in range(t, size))
                for t in range(size)
            ]
            advantages.append(torch.tensor(one, dtype=torch.float64))
            returns.append(advantages[-1] + value)
        flat = torch.cat(advantages)
        mean = float(flat.sum()) / len(flat)
        variance = float(((flat - mean) ** 2).sum()) / len(flat)
        return [(a - mean) / math.sqrt(variance + 1e-8) for a in advantages], returns

    # ---- the loss

    def loss(
        self,
        now: tuple[list[Tensor], list[Tensor]],
        before: tuple[list[Tensor], list[Tensor], list[Tensor]],
        targets: tuple[list[Tensor], list[Tensor]],
    ) -> tuple[Tensor, Any, int]:
        """Policy loss, value loss, and how many tokens the clip left without gradient."""
        (logps, new_values), (old, reference, values) = now, before
        advantages, returns = targets
        if self.method == "online_dpo":
            return self.dpo(logps, reference, advantages), 0.0, 0
        if self.method == "rloo":
            return self.sequences(logps, old, advantages)
        low, high = 1 - self.knobs["clip"], 1 + self.knobs["clip"]
        sums, clipped = [], 0
        value_sum: Any = 0.0
        for s in range(len(logps)):
            total: Any = 0.0
            for t in range(len(logps[s])):
                ratio, push = (logps[s][t] - old[s][t]).exp(), float(advantages[s][t])
                plain, held = ratio * push, ratio.clamp(low, high) * push
                total = total - torch.minimum(plain, held)
                clipped += int((ratio > high and push > 0) or (ratio < low and push < 0))
                if self.method == "grpo":
                    away = reference[s][t] - logps[s][t]
                    total = total + self.knobs["kl"] * (away.exp() - 1 - away)
                else:
                    wanted, was, new = float(returns[s][t]), float(values[s][t]), new_values[s][t]
                    reach = self.value_clip
                    near = was + (new - was).clamp(-reach, reach)
                    error = torch.maximum((new - wanted) ** 2, (near - wanted) ** 2)
                    value_sum = value_sum + 0.5 * error
            sums.append(total / len(logps[s]) if self.method == "grpo" else total)
        if self.method == "grpo":
            return sum(sums, torch.tensor(0.0)) / len(sums), 0.0, clipped
        tokens = sum(map(len, logps))
        return sum(sums, torch.tensor(0.0)) / tokens, value_sum / tokens, clipped

    def sequences(
        self, logps: list[Tensor], old: list[Tensor], advantages: list[Tensor]
    ) -> tuple[Tensor, Any, int]:
        """RLOO: a whole text is one action."""
        low, high = 1 - self.knobs["clip"], 1 + self.knobs["clip"]
        total, clipped = torch.tensor(0.0, dtype=torch.float64), 0
        for mine, then, push_L in zip(logps, old, advantages):
            ratio, push = (mine.sum() - then.sum()).exp(), float(push_L[0])
            total = total - torch.minimum(ratio * push, ratio.clamp(low, high) * push)
            done = (ratio > high and push > 0) or (ratio < low and push < 0)
            clipped += len(mine) * int(done)
        return total / len(logps), 0.0, clipped

    def dpo(self, logps: list[Tensor], reference: list[Tensor], signs: list[Tensor]) -> Tensor:
        """Online DPO: the better of two texts against the other, ties left out."""
        total, pairs = torch.tensor(0.0, dtype=torch.float64), 0
        for s in range(0, len(logps), 2):
            sign = float(signs[s][0])
            if sign == 0:
                continue
            gaps = [(logps[i] - reference[i]).sum() for i in (s, s + 1)]
            margin = self.knobs["beta"] * sign * (gaps[0] - gaps[1])
            total, pairs = total + torch.log1p((-margin).exp()), pairs + 1
        return total / pairs

    def clip_and_move(self) -> float:
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in self.trained))
        if norm > self.clip_norm:
            for p in self.trained:
                p.grad *= self.clip_norm / (norm + 1e-6)
        self.adam.step()
        if self.weight.grad is not None:
            self.value_adam.step()
        return norm

    def explained(
        self,
        paid: list[float],
        old: list[Tensor],
        reference: list[Tensor],
        values: list[Tensor],
    ) -> float:
        """1 - Var(what was paid from here on - value) / Var(what was paid from here on)."""
        wanted, foreseen = [], []
        for each, value in zip(self.rewards(paid, old, reference), values):
            wanted += [sum(each[t:]) for t in range(len(each))]
            foreseen += value.tolist()

        def variance(numbers: list[float]) -> float:
            mean = sum(numbers) / len(numbers)
            return sum((x - mean) ** 2 for x in numbers) / len(numbers)

        left = variance([w - f for w, f in zip(wanted, foreseen)])
        return 1 - left / variance(wanted)
