"""The reference cache: the same bits whatever was killed, cached or reordered; nothing stale."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import engine_cases
import tiny
from palate.data.rows import Item
from palate.engine import reference
from palate.engine.policy import Plan, Policy
from palate.engine.reference import Pass, Reference, reference_logps
from palate.errors import DiskError, NumericsError
from palate.runs import atomic

ITEMS = engine_cases.pairs(prompts=7, per_prompt=2)


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "CHUNK_ITEMS", 4)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(tiny.model("llama", dtype=torch.float32, num_hidden_layers=1)).eval()


def whole(policy: Policy, folder: Path, items: list[Item] | None = None, **about: Any) -> Pass:
    asked = replace(Reference("base", 64, folder), **about)
    return reference_logps(policy, ITEMS if items is None else items, asked)


def counts(found: Pass) -> tuple[int, int]:
    return found.computed, found.reused


# ---- chunks


def test_chunks_follow_the_content_and_keep_a_prompt_together() -> None:
    chunks = reference._chunks(ITEMS)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(ITEMS)))
    assert all(len(chunk) <= 4 for chunk in chunks) and len(chunks) > 3
    homes: dict[Any, set[int]] = {}
    for number, chunk in enumerate(chunks):
        for index in chunk:
            homes.setdefault(ITEMS[index].group, set()).add(number)
    assert all(len(found) == 1 for found in homes.values())


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_items_changes_neither_chunks_nor_bits(
    policy: Policy, tmp_path: Path, seed: int
) -> None:
    order = random.Random(seed).sample(range(len(ITEMS)), len(ITEMS))
    mixed = [ITEMS[index] for index in order]
    as_content = [[order[i] for i in chunk] for chunk in reference._chunks(mixed)]
    assert as_content == reference._chunks(ITEMS)
    first = whole(policy, tmp_path)
    again = whole(policy, tmp_path, mixed)
    assert counts(again) == (0, first.computed)
    assert torch.equal(again.logps_IN, first.logps_IN[order])


def test_a_group_above_the_chunk_size_is_one_chunk() -> None:
    items = engine_cases.pairs(prompts=2, per_prompt=6)
    assert sorted(len(chunk) for chunk in reference._chunks(items)) == [6, 6]


# ---- the same bits


def test_warm_equals_cold(policy: Policy, tmp_path: Path) -> None:
    cold = whole(policy, tmp_path)
    warm = whole(policy, tmp_path)
    assert cold.reused == 0 and warm.computed == 0 and warm.reused == cold.computed
    assert torch.equal(cold.logps_IN, warm.logps_IN)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_pass_killed_in_the_middle_goes_on(policy: Policy, tmp_path: Path, chunk: int) -> None:
    cold = whole(policy, tmp_path / "whole")

    def killed(done: int, total: int) -> None:
        if done == chunk:
            raise Killed

    asked = Reference("base", 64, tmp_path / "killed")
    with pytest.raises(Killed):
        reference_logps(policy, ITEMS, asked, killed)
    found = whole(policy, tmp_path / "killed")
    assert counts(found) == (cold.computed - chunk, chunk)
    assert torch.equal(found.logps_IN, cold.logps_IN)


def test_values_are_those_of_each_sequence_alone(policy: Policy, tmp_path: Path) -> None:
    plain = Policy(policy.model, Plan(shared=False, chunked=False))
    want = whole(plain, tmp_path).logps_IN
    torch.testing.assert_close(whole(policy, tmp_path).logps_IN, want, rtol=1e-5, atol=1e-5)


# ---- what a key holds


def _other_budget(policy: Policy) -> dict[str, Any]:
    return {"budget": 65}


def _other_weights(policy: Policy) -> dict[str, Any]:
    return {"identity": "tuned"}


def _other_plan(policy: Policy) -> dict[str, Any]:
    return {"policy": Policy(policy.model, Plan(shared=False))}


def _other_dtype(policy: Policy) -> dict[str, Any]:
    return {"policy": Policy(tiny.model("llama", dtype=torch.float64, num_hidden_layers=1))}


def _other_threads(policy: Policy) -> dict[str, Any]:
    torch.set_num_threads(2)
    return {}


def _other_engine(policy: Policy) -> dict[str, Any]:
    reference.ENGINE_VERSION += 1
    return {}


@pytest.mark.parametrize(
    "change",
    [_other_budget, _other_weights, _other_plan, _other_dtype, _other_threads, _other_engine],
)
def test_nothing_is_reused_for_another_computation(
    policy: Policy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Policy], dict[str, Any]],
) -> None:
    monkeypatch.setattr(reference, "ENGINE_VERSION", reference.ENGINE_VERSION)
    whole(policy, tmp_path)
    about = change(policy)
    assert whole(about.pop("policy", policy), tmp_path, **about).reused == 0


def test_other_ids_are_other_chunks(policy: Policy, tmp_path: Path) -> None:
    first = whole(policy, tmp_path, ITEMS[:8])
    more = whole(policy, tmp_path, engine_cases.pairs(prompts=4, per_prompt=2, seed=5))
    assert counts(more) == (first.computed, 0)


# ---- damage


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _cut(content: bytes) -> bytes:
    return content[:-3]


def _emptied(content: bytes) -> bytes:
    return b""


def _flipped(content: bytes) -> bytes:
    """One bit of a number: still a tensor of the right shape."""
    values = safetensors.torch.load(content)
    values["logps"].view(torch.int32)[0, 0] ^= 1 << 20
    return safetensors.torch.save(values)


@pytest.mark.parametrize("damage", [_cut, _emptied, _flipped])
def test_a_damaged_file_is_computed_again(
    policy: Policy, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cold = whole(policy, tmp_path)
    for path in files(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    found = whole(policy, tmp_path)
    assert counts(found) == (cold.computed, 0)
    assert torch.equal(found.logps_IN, cold.logps_IN)
    assert whole(policy, tmp_path).computed == 0


def shifted(values: Tensor) -> bytes:
    """A file that is whole and wrong: what a bug, not a disk, would write."""
    return safetensors.torch.save({"logps": values, "sha256": reference._digest(values)})


def test_a_wrong_value_in_a_whole_file_is_caught(policy: Policy, tmp_path: Path) -> None:
    whole(policy, tmp_path)
    for path in files(tmp_path):
        path.write_bytes(shifted(safetensors.torch.load(path.read_bytes())["logps"] + 0.1))
    with pytest.raises(NumericsError, match="differ from a live pass") as caught:
        whole(policy, tmp_path)
    assert "Remove the cache folder" in caught.value.hint


def test_a_value_that_is_not_finite_is_refused_and_not_cached(tmp_path: Path) -> None:
    model = tiny.model("llama", dtype=torch.float32, num_hidden_layers=1)
    with torch.no_grad():
        model.get_output_embeddings().weight[5] = float("nan")
    with pytest.raises(NumericsError, match="no finite log-prob to"):
        whole(Policy(model), tmp_path)
    assert files(tmp_path) == []


def test_a_full_disk_leaves_nothing_behind(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "write_new", full)
    with pytest.raises(DiskError, match="no space left"):
        whole(policy, tmp_path)
    assert list(tmp_path.iterdir()) == []
