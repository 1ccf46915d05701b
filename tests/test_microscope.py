"""The microscope: its pushes are autograd's on the logits, and what it shows is what it says."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from palate import api
from palate.cli.app import usage
from palate.config import ExplainOptions
from palate.errors import UsageError
from palate.objectives import Scored, build
from palate.study.seen import Row, Seen
from palate.train.events import silent

PAIRS = [
    {"prompt": "the flat", "chosen": "is near the station", "rejected": "is near the river bank"},
    {"prompt": "this one", "chosen": "has two baths", "rejected": "has a garden in the back"},
    {"prompt": "the other", "chosen": "a fee", "rejected": "a lift and a fee for the lift"},
]
ROWS = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in PAIRS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("microscope")
    tiny.folder(root / "policy", "llama", seed=1)
    tiny.folder(root / "reference", "llama", seed=2)
    for name, rows in (("pairs", PAIRS), ("rows", ROWS)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def look(place: Path, file: str = "pairs", **options: Any) -> Seen:
    if file == "pairs" and options.get("objective") not in ("simpo", "orpo", "unlikelihood"):
        options = {"reference": str(place / "reference")} | options
    made = ExplainOptions(**options)
    return api.explain(str(place / "policy"), str(place / f"{file}.jsonl"), made, silent)


class Naive:
    """One pair, each side alone, full logits in float64, and autograd down to them."""

    def __init__(self, place: Path, number: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(place / "policy")
        models = {
            name: AutoModelForCausalLM.from_pretrained(place / name).double().eval()
            for name in ("policy", "reference")
        }
        row = PAIRS[number]
        start = self.tokenizer(row["prompt"] + "\n")["input_ids"]
        self.ids = [
            self.tokenizer(row["prompt"] + "\n" + row[side])["input_ids"] + [1]
            for side in ("chosen", "rejected")
        ]
        self.start = min(len(start), next(n for n, (a, b) in enumerate(zip(*self.ids)) if a != b))
        self.logits = [self._logits(models["policy"], ids).requires_grad_() for ids in self.ids]
        with torch.no_grad():
            rows = [self._logps(self._logits(models["reference"], ids), ids) for ids in self.ids]
        self.reference = torch.stack([row.sum() for row in rows])[None]
        self.logps = [self._logps(each, ids) for each, ids in zip(self.logits, self.ids)]

    def _logits(self, model: Any, ids: list[int]) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        return found

    def _logps(self, logits: Tensor, ids: list[int]) -> Tensor:
        normal = logits.log_softmax(-1)
        places = range(self.start, len(ids))
        return torch.stack([normal[t - 1, ids[t]] for t in places])

    def gradients(self, name: str, **options: Any) -> tuple[float, list[Tensor]]:
        """The loss, and its gradient at the logits of every scored token of both sides."""
        objective = build(name, **options)
        from palate.objectives.tokens import SUMS

        square = [each.softmax(-1).square().sum(-1) for each in self.logits]
        sums = {
            key: torch.stack(
                [
                    SUMS[key](lp, sq[self.start - 1 : -1].detach()).sum()
                    for lp, sq in zip(self.logps, square)
                ]
            )[None]
            for key in objective.sums
        }
        total = torch.stack([each.sum() for each in self.logps])[None]
        tokens = torch.tensor([[len(each) for each in self.logps]])
        loss = objective.loss(
            Scored(total, tokens, self.reference, torch.ones(1).double(), sums)
        ).sum()
        found = torch.autograd.grad(loss, self.logits, retain_graph=True)
        return float(loss.detach()), [each[self.start - 1 : -1] for each in found]


OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "dpo": {"beta": 0.4},
    "ipo": {"beta": 0.2},
    "simpo": {},
    "orpo": {},
    "apo_zero": {},
    "unlikelihood": {},
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_every_push_is_the_length_of_autograds_gradient(
    place: Path, number: int, name: str
) -> None:
    options = {k: v for k, v in OBJECTIVES[name].items() if k == "beta"}
    row = look(place, objective=name, **options).rows[number]
    naive = Naive(place, number)
    loss, gradients = naive.gradients(name, **OBJECTIVES[name])
    assert row.loss == pytest.approx(loss, rel=1e-4)
    for side, gradient in zip(row.sides, gradients, strict=True):
        assert side.detail is not None
        for token, at_token in zip(side.detail, gradient, strict=True):
            if token.kind != "shared":
                assert token.logit_grad_norm == pytest.approx(
                    float(at_token.norm()), rel=1e-5, abs=1e-6
                )


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_the_shared_prefix_cancels_and_the_fork_is_two_one_hots(place: Path, number: int) -> None:
    row = look(place, beta=0.4).rows[number]
    naive = Naive(place, number)
    _, (up, down) = naive.gradients("dpo", beta=0.4)
    chosen, rejected = (side.detail or () for side in row.sides)
    assert row.shared == sum(token.kind == "shared" for token in chosen) > 0
    for n in range(row.shared):
        assert chosen[n].logit_grad_norm == rejected[n].logit_grad_norm == 0.0
        assert float((up[n] + down[n]).norm()) < 1e-12
    fork, weight = chosen[row.shared], abs(row.sides[0].weight)
    assert fork.kind == rejected[row.shared].kind == "first"
    assert fork.net_logit_grad_norm == pytest.approx(weight * math.sqrt(2), rel=1e-5)
    net = float((up[row.shared] + down[row.shared]).norm())
    assert fork.net_logit_grad_norm == pytest.approx(net, rel=1e-5)


def test_a_shared_suffix_does_not_cancel(place: Path) -> None:
    row = look(place).rows[2]
    chosen, rejected = (side.detail or () for side in row.sides)
    assert chosen[-1].text == rejected[-1].text
    assert chosen[-1].kind == rejected[-1].kind == "after"
    assert chosen[-1].logit_grad_norm > 0 and rejected[-1].logit_grad_norm > 0


def test_alternatives_are_what_the_model_would_have_said(place: Path) -> None:
    row = look(place, beta=0.4).rows[1]
    naive = Naive(place, 1)
    token = (row.sides[1].detail or ())[row.shared + 1]
    at = naive.start - 1 + row.shared + 1
    probs = naive.logits[1][at].softmax(-1)
    top = probs.topk(5)
    assert [a.p for a in token.alternatives] == pytest.approx(top.values.tolist(), abs=1e-6)
    onehot = (top.indices == naive.ids[1][at + 1]).double()
    pushes = (row.sides[1].weight * (onehot - top.values)).tolist()
    assert [a.push for a in token.alternatives] == pytest.approx(pushes, abs=1e-6)
    text = "".join(t.text for t in row.sides[1].detail or ())
    assert text.startswith(PAIRS[1]["rejected"][-10:]) or PAIRS[1]["rejected"][-10:] in text


def test_rows_of_sft_share_one_weight_per_token(place: Path) -> None:
    seen = look(place, "rows")
    assert seen.objective == "sft" and seen.reference is None
    for row in seen.rows:
        (side,) = row.sides
        assert side.weight == 1.0 and row.margin is None
        assert {token.kind for token in side.detail or ()} == {"after"}
        probs = [math.exp(token.logp) for token in side.detail or ()]
        pushes = [token.logit_grad_norm for token in side.detail or ()]
        assert all(push >= 1 - p - 1e-6 for push, p in zip(pushes, probs, strict=True))


def test_a_model_that_is_no_run_is_compared_with_itself(place: Path) -> None:
    notes: list[str] = []
    seen = api.explain(
        str(place / "policy"),
        str(place / "pairs.jsonl"),
        ExplainOptions(),
        lambda event: notes.append(getattr(event, "text", "")),
    )
    assert all(row.margin == pytest.approx(0.0, abs=1e-5) for row in seen.rows)
    assert all(row.loss == pytest.approx(math.log(2), abs=1e-5) for row in seen.rows)
    assert any("compared with itself" in note for note in notes)


def test_length_desensitised_weights_fall_after_the_shorter_length(place: Path) -> None:
    seen = look(place, objective="ld_dpo", option=("alpha=0.25",))
    row = seen.rows[2]
    short, long = sorted(row.sides, key=lambda side: side.count)
    tokens = long.detail or ()
    lengths = [
        t.logit_grad_norm / _length(t.logp, t.alternatives) for t in tokens if t.kind == "after"
    ]
    assert max(lengths) > 3 * min(lengths), "the tail weighs a quarter"
    assert short.count < long.count


def _length(logp: float, alternatives: Any) -> float:
    """||softmax - onehot|| up to what lies outside the five likeliest: near enough for a ratio."""
    p = math.exp(logp)
    return math.sqrt(max(1e-9, sum(a.p**2 for a in alternatives) - 2 * p + 1))


def test_the_switch_holds_five_objectives_and_their_betas(place: Path) -> None:
    seen = look(place, beta=0.4)
    names = {each.objective for each in seen.switched}
    assert len(names) == 5 and len(seen.switched) == 25
    own = seen.switched[0]
    assert own.objective == "dpo" and own.options["beta"] == 0.4
    assert own.weights == tuple((r.sides[0].weight, r.sides[1].weight) for r in seen.rows)
    for each in seen.switched:
        assert len(each.weights) == len(each.losses) == len(each.margins) == len(seen.rows)
        assert len(each.curve_margins) == len(each.curve_weights)
        assert all(map(math.isfinite, (*each.curve_weights, *each.losses)))


def test_one_pair_typed_in(place: Path) -> None:
    seen = api.explain(
        str(place / "policy"), ("the flat", "has a lift", "has a garden"), ExplainOptions(), silent
    )
    assert len(seen.rows) == 1 and seen.source == "typed in"


def test_json_of_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(place / "policy"), str(place / "pairs.jsonl")]
    usage(["explain", *words, "--reference", str(place / "reference"), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["pair"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert {"margin", "loss", "weights"} <= line.keys()
        assert set(line["weights"]) == {"chosen", "rejected"}
        for side in ("chosen", "rejected"):
            for token in line[side]["tokens"]:
                assert {"text", "logp", "ref_logp", "logit_grad_norm", "kind"} <= token.keys()
                assert len(token["alternatives"]) == 5
                assert {"text", "p", "push"} == token["alternatives"][0].keys()
                assert ("net_logit_grad_norm" in token) == (token["kind"] == "first")


def test_detail_is_for_the_heaviest_and_one_pair_alone(place: Path) -> None:
    seen = look(place, detail=1)
    detailed = [row for row in seen.rows if row.sides[0].detail is not None]
    assert len(seen.rows) == 3 and len(detailed) == 1
    heaviest = max(seen.rows, key=_mass)
    assert detailed[0].number == heaviest.number
    alone = look(place, pair=2)
    assert [row.number for row in alone.rows] == [2]
    assert alone.rows[0].sides[0].detail is not None


def _mass(row: Row) -> float:
    return sum(side.mass or 0.0 for side in row.sides)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pair": 4}, "there are 3 rows"),
        ({"objective": "simpo", "reference": "x"}, "--reference has no effect"),
        ({"objective": "nope"}, "no objective 'nope'"),
        ({"objective": "simpo", "option": ("tau=1",)}, "no option 'tau'"),
    ],
)
def test_what_cannot_be_explained(place: Path, options: dict[str, Any], said: str) -> None:
    made = ExplainOptions(**options)
    with pytest.raises(UsageError, match=said):
        api.explain(str(place / "policy"), str(place / "pairs.jsonl"), made, silent)
