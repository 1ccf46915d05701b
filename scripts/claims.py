"""`make claims`: every statement of "SFT against DPO" and "DPO is SFT", measured: docs/claims.md.

    python scripts/claims.py            write the page
    python scripts/claims.py --check    exit 1 if the page does not hold what would be written

The algebra is measured on the packaged base model, in float64, on pairs of the demo.  What needs a
training run is read from a finished `palate demo` (runs/demo), which is made if it is not there.
Later work adds rows to CLAIMS.
"""

import argparse
import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.config import RowOptions
from palate.data.render import Renderer
from palate.data.rows import Item, Origin, Pair
from palate.demo.prose import Style, describe, prompt
from palate.demo.sheets import sheets
from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.objectives import Scored, build, weights

ROOT = Path(__file__).parents[1]
BASE = ROOT / "src" / "palate" / "demo" / "base"
PAGE = ROOT / "docs" / "claims.md"
DEMO = ROOT / "runs" / "demo"
BETA = 0.1
EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured, and whether the statement holds: always, here, or not."""

    figure: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, what backs it, and how it is measured."""

    statement: str
    backed_by: str
    measure: Callable[["Bench"], Finding]


class Bench:
    """The packaged base in float64 and pairs that share a start; the demo's figures."""

    @cached_property
    def items(self) -> list[Item]:
        import random

        from transformers import AutoTokenizer

        renderer = Renderer(AutoTokenizer.from_pretrained(BASE), RowOptions(), context=512)
        rng, found = random.Random("claims"), []
        for n, sheet in enumerate(sheets(24, "claims")):
            good = describe(sheet, Style(keep=1.0), rng)
            cut = good[: len(good) // 2].rsplit(" ", 1)[0]
            pair = Pair(prompt(sheet), good, cut + " with plenty of charm.", Origin("made", n + 1))
            found.append(renderer.item(pair))
        return found

    @cached_property
    def model(self) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float64).eval()

    def logits(self, model: Any, item: Item, side: int) -> tuple[Tensor, Tensor]:
        """Logits of the scored tokens of a side (T,V), gradient attached, and the tokens."""
        ids = torch.tensor(item.sequences[side].ids)
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        if logits.requires_grad:
            logits.retain_grad()
        places = torch.arange(item.sequences[side].prompt, len(ids))
        return logits, places

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The demo's own record."""
        record = DEMO / "demo.json"
        if not record.exists():
            words = ["-m", "palate.cli", "demo", "--out", str(DEMO)]
            palate = Path(sys.executable).with_name("palate")
            command = [str(palate), "demo", "--out", str(DEMO)] if palate.exists() else words
            subprocess.run(command, check=True, cwd=ROOT)
        found: dict[str, Any] = json.loads(record.read_text())
        return found


def logps(logits: Tensor, places: Tensor, item: Item, side: int) -> Tensor:
    ids = torch.tensor(item.sequences[side].ids)
    return logits.log_softmax(-1)[places - 1, ids[places]]


def shared(item: Item) -> int:
    """Scored tokens that both sides share at their start."""
    one, two = (sequence.ids for sequence in item.sequences)
    fork = next(n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    return fork - item.sequences[0].prompt


def weight_at(margin: float) -> float:
    """Chosen's weight at a margin, from the library."""
    logps = torch.tensor([[margin / BETA, 0.0]], dtype=torch.float64)
    scored = Scored(logps, torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.float64))
    return float(weights(build("dpo", beta=BETA), scored)[0, 0])


def gradients(bench: Bench, item: Item, ahead: float) -> list[Tensor]:
    """Logit gradients (T,V) of both sides under DPO; chosen is `ahead` nats of the reference."""
    sides = [bench.logits(bench.model, item, side) for side in (0, 1)]
    totals = torch.stack([logps(*sides[n], item, n).sum() for n in (0, 1)])[None]
    shift = torch.tensor([[0.0, ahead]], dtype=torch.float64)
    scored = Scored(totals, torch.ones(1, 2), totals.detach() + shift)
    build("dpo", beta=BETA).loss(scored).sum().backward()
    found = [logits.grad[places - 1] for logits, places in sides if logits.grad is not None]
    return found


def target_and_preference(bench: Bench) -> Finding:
    """SFT's loss of an answer does not know the other answer; DPO's does."""
    item = bench.items[0]
    sides = [bench.logits(bench.model, item, side) for side in (0, 1)]
    totals = torch.stack([logps(*sides[n], item, n).sum() for n in (0, 1)])[None].detach()
    moved = totals + torch.tensor([[0.0, 5.0]])
    tokens = torch.ones(1, 2)
    sft = [weights(build("sft"), Scored(x[:, :1], tokens[:, :1])) for x in (totals, moved)]
    dpo = [weights(build("dpo"), Scored(x, tokens, totals)) for x in (totals, moved)]
    change = float((dpo[1] - dpo[0])[0, 0])
    same = float((sft[1] - sft[0]).abs().max())
    return Finding(
        f"rejected 5 nats likelier: weight on chosen changes by {same:.0f} under SFT, "
        f"{change:+.4f} under DPO (beta {BETA})",
        "holds" if same == 0 and change > 0 else "does not",
    )


def loss_and_derivative(bench: Bench) -> Finding:
    """-d loss / d margin = sigmoid(-margin)."""
    worst = 0.0
    for margin in torch.linspace(-20, 20, 401, dtype=torch.float64):
        leaf = (margin / BETA * torch.tensor([[1.0, 0.0]], dtype=torch.float64)).requires_grad_()
        build("dpo", beta=BETA).loss(Scored(leaf, torch.ones(1, 2), torch.zeros(1, 2))).backward()
        assert leaf.grad is not None
        worst = max(worst, abs(float(-leaf.grad[0, 0]) - BETA / (1 + math.exp(float(margin)))))
    return Finding(f"largest difference {worst:.1e} over margins of ±20", _exact(worst))


def softmax_less_onehot(bench: Bench) -> Finding:
    """SFT's logit gradient."""
    item, worst = bench.items[0], 0.0
    logits, places = bench.logits(bench.model, item, 0)
    (-logps(logits, places, item, 0).sum()).backward()
    ids = torch.tensor(item.sequences[0].ids)[places]
    want = logits.detach().softmax(-1)[places - 1]
    want[torch.arange(len(ids)), ids] -= 1
    assert logits.grad is not None
    worst = float((logits.grad[places - 1] - want).abs().max())
    return Finding(f"largest difference {worst:.1e} over {len(ids)} tokens", _exact(worst))


def dpo_is_sft(bench: Bench) -> Finding:
    """One SGD step of DPO against one of SFT with the weights."""
    found = []
    for weighted in (False, True):
        model = copy.deepcopy(bench.model)
        policy = Policy(model)
        row = pack(bench.items[:2], 4096)[0]
        totals = policy(row).logps_S.view(2, 2)
        scored = Scored(totals, torch.ones(2, 2), totals.detach() - torch.tensor([3.0, 1.0]))
        objective = build("dpo", beta=BETA)
        loss = (
            -(weights(objective, scored) * totals).sum()
            if weighted
            else objective.loss(scored).sum()
        )
        loss.backward()
        found.append([p.detach() - 0.1 * p.grad for p in model.parameters() if p.grad is not None])
    worst = max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))
    return Finding(f"largest difference of a parameter {worst:.1e}", _exact(worst))


def regimes(bench: Bench) -> Finding:
    """Learnt, undecided, wrong."""
    shares = [weight_at(margin) / BETA for margin in (4.0, 0.0, -4.0)]
    said = ", ".join(f"{share:.0%}" for share in shares)
    holds = shares[0] < 0.1 and shares[1] == 0.5 and shares[2] > 0.9
    return Finding(
        f"share of beta at margins +4, 0, \N{MINUS SIGN}4: {said}", "holds" if holds else "does not"
    )


def prefix_cancels(bench: Bench) -> Finding:
    """The shared prefix."""
    worst, tokens = 0.0, 0
    for item in bench.items:
        up, down = gradients(bench, item, 2.0)
        count = shared(item)
        worst = max(worst, float((up[:count] + down[:count]).abs().max()) if count else 0.0)
        tokens += count
    return Finding(f"largest sum {worst:.1e} over {tokens} shared tokens", _exact(worst))


def first_divergence(bench: Bench) -> Finding:
    """The two pushes at the fork."""
    worst = 0.0
    for item in bench.items:
        up, down = gradients(bench, item, 2.0)
        n = shared(item)
        weight = BETA / (1 + math.exp(BETA * 2.0))
        length = float((up[n] + down[n]).norm())
        worst = max(worst, abs(length / (weight * math.sqrt(2)) - 1))
    return Finding(f"relative difference from weight·√2: {worst:.1e}", _exact(worst))


def after_the_fork(bench: Bench) -> Finding:
    """What comes after does not cancel, not even where the words are the same again."""
    up, down = gradients(bench, bench.items[0], 0.0)
    last = float((up[-1] + down[-1]).norm())
    return Finding(
        f"both sides end in the same token; their pushes there sum to {last:.1e}, not 0",
        "holds" if last > 1e-6 else "does not",
    )


def context_still_trains(bench: Bench) -> Finding:
    """A shared prefix has no push as a target; its keys and values move all the same."""
    item = bench.items[0]
    model = copy.deepcopy(bench.model)
    before, places = bench.logits(model, item, 0)
    old = logps(before, places, item, 0).detach()
    sides = [bench.logits(model, item, side) for side in (0, 1)]
    totals = torch.stack([logps(*sides[n], item, n).sum() for n in (0, 1)])[None]
    model.zero_grad()
    loss = build("dpo", beta=BETA).loss(Scored(totals, torch.ones(1, 2), totals.detach()))
    loss.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad
        new = logps(*bench.logits(model, item, 0), item, 0)
    count = shared(item)
    moved = float((new - old)[:count].abs().mean())
    return Finding(
        f"one SGD step moves the log-probs of {count} shared tokens by {moved:.1e} nats on average",
        "holds" if moved > 0 else "does not",
    )


def fades_never_none(bench: Bench) -> Finding:
    """The weight of a pair that is long learnt."""
    found = [weight_at(margin) for margin in (5.0, 20.0, 50.0)]
    said = ", ".join(f"{value:.1e}" for value in found)
    return Finding(
        f"weight at margins 5, 20, 50: {said}", "holds" if min(found) > 0 else "does not"
    )


def imitation_ceiling(bench: Bench) -> Finding:
    """SFT on mixed examples keeps their faults; preferences go past them."""
    found = bench.figures["figures"]["drawn at temperature 1"]
    sft, dpo = (found[name]["points"]["value"] for name in ("SFT", "DPO"))
    low = found["wins against SFT"]["low"]
    return Finding(
        f"points per drawn text: SFT {sft:.2f}, DPO {dpo:.2f}; DPO wins at least {low:.0%}",
        "holds here" if low > 0.5 else "does not",
    )


def sft_first(bench: Bench) -> Finding:
    """The same pairs, DPO from the SFT run and DPO from the base."""
    shown = {}
    for name, start in (("SFT", DEMO / "sft"), ("base", BASE)):
        out = DEMO / f"claims-dpo-from-{name.lower()}"
        words = ["dpo", "--model", str(start), "--data", str(DEMO / "data" / "pairs.jsonl")]
        bench.figures  # noqa: B018  (the demo must have run)
        palate = str(Path(sys.executable).with_name("palate"))
        subprocess.run(
            [palate, *words, "--out", str(out), "--lr", "8e-4"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found = json.loads((out / "run.json").read_text())["evaluation"]["accuracy"]
        shown[name] = found
    sft, base = shown["SFT"], shown["base"]
    apart = sft["low"] > base["high"]
    return Finding(
        "held-out pair accuracy of DPO from SFT "
        f"{_interval(sft)}, from the base {_interval(base)}"
        + ("" if apart else ": indistinguishable by this figure"),
        "holds here" if apart else "not shown here",
    )


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"


def _exact(worst: float) -> str:
    return "holds" if worst < EXACT else "does not"


CLAIMS = (
    Claim(
        "SFT learns a target: an answer's push does not depend on any other answer. DPO learns a "
        "preference: it does.",
        "tests/test_objectives.py",
        target_and_preference,
    ),
    Claim(
        "Imitation has a ceiling: SFT reproduces the faults of its examples; preferences go past.",
        "palate demo",
        imitation_ceiling,
    ),
    Claim("SFT comes first: DPO needs a model that is near the answers.", "two runs", sft_first),
    Claim(
        "The loss is \N{MINUS SIGN}log sigmoid(margin); its slope by the margin is "
        "\N{MINUS SIGN}sigmoid(\N{MINUS SIGN}margin).",
        "tests/test_dpo_is_sft.py",
        loss_and_derivative,
    ),
    Claim(
        "SFT's gradient at a token's logits is softmax \N{MINUS SIGN} onehot.",
        "tests/test_dpo_is_sft.py",
        softmax_less_onehot,
    ),
    Claim(
        "DPO is SFT with weight ±beta·sigmoid(\N{MINUS SIGN}margin): one step of either is the "
        "same.",
        "tests/test_weights_are_sft.py",
        dpo_is_sft,
    ),
    Claim(
        "Three regimes: a pair ranked right gets almost no push, an undecided one half, a wrong "
        "one almost all of beta.",
        "tests/test_objectives.py",
        regimes,
    ),
    Claim(
        "Tokens that both sides share at their start cancel exactly.",
        "tests/test_microscope.py",
        prefix_cancels,
    ),
    Claim(
        "At the first difference the two pushes leave one token up and one down, nothing else.",
        "tests/test_microscope.py",
        first_divergence,
    ),
    Claim(
        "After it nothing cancels, not even words that are the same again.",
        "tests/test_microscope.py",
        after_the_fork,
    ),
    Claim(
        "A shared prefix is still trained as context.",
        "this page",
        context_still_trains,
    ),
    Claim("The push fades as a pair is learnt; it is never none.", "this page", fades_never_none),
)


def written() -> str:
    """The page."""
    bench = Bench()
    lines = [
        "# Claims",
        "",
        "What palate says about SFT and DPO, measured. Written by `make claims`, on the packaged",
        "base model in float64 and on one run of `palate demo`. *holds*: algebra, to 1e-9;",
        "*holds here*: measured on this model and data, which says nothing about yours.",
        "",
        "| statement | measured | verdict | also held by |",
        "|---|---|---|---|",
    ]
    for claim in CLAIMS:
        found = claim.measure(bench)
        sys.stdout.write(f"{found.verdict:15} {claim.statement}\n{'':16}{found.figure}\n")
        lines.append(
            f"| {claim.statement} | {found.figure} | **{found.verdict}** | {claim.backed_by} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    page = written()
    if asked.check:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
