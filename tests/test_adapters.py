import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

import tiny
from palate.engine import adapters
from palate.engine.adapters import Lora
from palate.engine.model import Loaded, load, quiet
from palate.errors import ModelError

IDS = torch.tensor([[5, 9, 200, 31, 7, 44, 12]])
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def logits(loaded: Loaded) -> torch.Tensor:
    model: Any = loaded.core
    with torch.no_grad():
        out: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return out


def taught(loaded: Loaded, *, rank: int = 4, seed: int = 0) -> Loaded:
    """A new adapter whose B is not 0."""
    tuned = adapters.start_lora(loaded, Lora(rank=rank, alpha=8.0), seed=seed)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in adapters.trainable(tuned.model).items():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return tuned


def saved(loaded: Loaded, path: Path) -> Path:
    path.mkdir()
    adapters.save_final(loaded, path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("models") / "llama")


def test_a_new_adapter_trains_alone_and_changes_nothing_yet(source: Path) -> None:
    loaded = load(str(source))
    before = logits(loaded)
    tuned = adapters.start_lora(loaded, Lora(rank=4), seed=0)
    names = set(adapters.trainable(tuned.model))
    assert names == {
        f"base_model.model.model.layers.{layer}.{part}.{module}.lora_{side}.default.weight"
        for layer in range(3)
        for module in LINEAR
        for part in [("self_attn" if module[0] in "qkvo" else "mlp")]
        for side in "AB"
    }
    assert torch.equal(logits(tuned), before)


def test_an_adapter_is_continued_as_the_only_thing_that_trains(
    source: Path, tmp_path: Path
) -> None:
    sft = taught(load(str(source)))
    names, before = set(adapters.trainable(sft.model)), logits(sft)
    loaded = load(str(saved(sft, tmp_path / "sft")))
    assert adapters.trainable(loaded.model) == {}
    dpo = adapters.continue_adapter(loaded)
    assert set(adapters.trainable(dpo.model)) == names
    assert torch.equal(logits(dpo), before)


def test_after_a_step_there_is_one_adapter_on_the_base(source: Path, tmp_path: Path) -> None:
    """SFT, then DPO on the same adapter: `final/` is one adapter that peft itself loads."""
    sft = saved(taught(load(str(source))), tmp_path / "sft")
    dpo = adapters.continue_adapter(load(str(sft)))
    base = {n: p.clone() for n, p in dpo.model.named_parameters() if not p.requires_grad}
    model: Any = dpo.core
    model(input_ids=IDS).logits.square().sum().backward()
    with torch.no_grad():
        for parameter in adapters.trainable(dpo.model).values():
            assert parameter.grad is not None
            parameter.sub_(1e-6 * parameter.grad)
    assert all(torch.equal(p, base[n]) for n, p in dpo.model.named_parameters() if n in base)
    final = saved(dpo, tmp_path / "dpo")
    factory: Any = AutoModelForCausalLM
    with quiet():  # peft asks transformers by a deprecated name
        fresh = PeftModel.from_pretrained(factory.from_pretrained(source), final)
    assert list(fresh.peft_config) == ["default"]
    assert fresh.peft_config["default"].base_model_name_or_path == str(source.resolve())
    with torch.no_grad():
        assert torch.equal(fresh(input_ids=IDS, use_cache=False).logits, logits(dpo))
    assert not torch.equal(logits(load(str(final))), logits(load(str(sft))))


def test_full_training_moves_every_weight(source: Path) -> None:
    full = adapters.start_full(load(str(source)))
    assert len(adapters.trainable(full.model)) == len(list(full.model.parameters()))


def test_full_training_of_an_adapter_merges_it(source: Path, tmp_path: Path) -> None:
    sft = taught(load(str(source)))
    before, plain = logits(sft), logits(load(str(source)))
    full = adapters.start_full(load(str(saved(sft, tmp_path / "sft"))))
    assert not isinstance(full.model, PeftModel)
    assert not any("lora" in name for name, _ in full.model.named_parameters())
    assert len(adapters.trainable(full.model)) == len(list(full.model.parameters()))
    assert (before - plain).abs().max() > 0.5
    torch.testing.assert_close(logits(full), before, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", tiny.KINDS + tiny.FALLBACK_KINDS)
def test_adapters_of_every_family_save_load_and_merge(kind: str, tmp_path: Path) -> None:
    source = tiny.folder(tmp_path / "base", kind)
    tuned = taught(load(str(source), dtype="float64"))
    loop_experts(tuned)
    before = logits(tuned)
    again = load(str(saved(tuned, tmp_path / "adapter")), dtype="float64")
    loop_experts(again)
    assert_same_weights(again, tuned)
    torch.testing.assert_close(logits(again), before, rtol=0, atol=1e-11)
    whole = adapters.start_full(again)
    torch.testing.assert_close(logits(whole), before, rtol=0, atol=1e-4)
    final = load(str(saved(whole, tmp_path / "final")), dtype="float64")
    loop_experts(final)
    assert_same_weights(final, whole)
    torch.testing.assert_close(logits(final), logits(whole), rtol=0, atol=1e-11)


def assert_same_weights(one: Loaded, other: Loaded) -> None:
    """Bit for bit.  Logits are not: some kernels round by where a tensor lies in memory."""
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


def loop_experts(loaded: Loaded) -> None:
    """The grouped product of experts has no float64."""
    if loaded.core.config.model_type == "mixtral":
        loaded.core.set_experts_implementation("eager")


@pytest.mark.parametrize("kind", tiny.KINDS + tiny.FALLBACK_KINDS)
def test_every_adapter_layer_reaches_the_output(kind: str, tmp_path: Path) -> None:
    """State-space code reads some weights directly: an adapter there would never be used."""
    tuned = taught(load(str(tiny.folder(tmp_path / "base", kind))))
    model: Any = tuned.core
    model(input_ids=IDS, use_cache=False).logits.square().sum().backward()
    for name, parameter in adapters.trainable(tuned.model).items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_merge_in_bf16_rounds_once(source: Path, tmp_path: Path) -> None:
    tuned = taught(load(str(source), dtype="bfloat16"))
    layer: Any = tuned.core.get_submodule("model.layers.0.self_attn.q_proj")
    weight = layer.base_layer.weight.float()
    delta = 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert delta.dtype == torch.float32
    whole = adapters.merged(tuned.model)
    found = whole.get_parameter("model.layers.0.self_attn.q_proj.weight")
    assert torch.equal(found, (weight + delta).bfloat16())
    assert {p.dtype for p in whole.parameters()} == {torch.bfloat16}


def test_the_start_is_a_function_of_the_seed(source: Path) -> None:
    def start(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(1234)
        state = torch.get_rng_state()
        tuned = adapters.start_lora(load(str(source)), Lora(), seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        return {name: p.detach() for name, p in adapters.trainable(tuned.model).items()}

    one, same, other = start(0), start(0), start(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_saved_adapter_is_the_same_bytes_each_time(source: Path, tmp_path: Path) -> None:
    one = saved(taught(load(str(source))), tmp_path / "one")
    two = saved(taught(load(str(source))), tmp_path / "two")
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    assert all(p.read_bytes() == (two / p.name).read_bytes() for p in one.iterdir())
    targets = json.loads((one / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(LINEAR)
    assert not (one / "README.md").exists()


def test_targets_are_checked(source: Path) -> None:
    tuned = adapters.start_lora(load(str(source)), Lora(targets=("q_proj", "v_proj")), seed=0)
    assert len(adapters.trainable(tuned.model)) == 3 * 2 * 2
    with pytest.raises(ModelError, match="'query' matches no linear layer") as caught:
        adapters.start_lora(load(str(source)), Lora(targets=("q_proj", "query")), seed=0)
    assert "down_proj, gate_proj, k_proj" in caught.value.hint
    with pytest.raises(ModelError, match="vocabulary head"):
        adapters.start_lora(load(str(source)), Lora(targets=("lm_head",)), seed=0)


def test_experts_without_an_adapter_are_named(tmp_path: Path) -> None:
    loaded = load(str(tiny.folder(tmp_path / "base", "mixtral")))
    tuned = adapters.start_lora(loaded, Lora(), seed=0)
    assert any("experts" in note for note in tuned.notes)


@pytest.mark.parametrize("kind", ["gpt2", "phi3", "llama", "gpt_neox"])
def test_no_dropout_in_train_mode(kind: str, tmp_path: Path) -> None:
    source = tiny.folder(tmp_path / "base", kind)
    config = json.loads((source / "config.json").read_text())
    dropped = {key: 0.5 for key in config if "drop" in key and isinstance(config[key], float)}
    assert dropped
    (source / "config.json").write_text(json.dumps(config | dropped))
    loaded = load(str(source))
    still = logits(loaded)
    loaded.model.train()
    assert not torch.equal(logits(loaded), still), "the test's dropout does nothing"
    full = adapters.start_full(loaded)
    full.model.train()
    assert torch.equal(logits(full), still)


def test_only_the_adapter_drops_out_if_asked(source: Path) -> None:
    tuned = adapters.start_lora(load(str(source)), Lora(dropout=0.25), seed=0)
    found = {module.p for module in tuned.model.modules() if isinstance(module, nn.Dropout)}
    assert found == {0.25}


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_full_model_is_saved_whole(kind: str, tmp_path: Path) -> None:
    """gemma2 ties its head to its embedding."""
    source = tiny.folder(tmp_path / "base", kind, chat_template="{{ messages }}")
    full = adapters.start_full(load(str(source)))
    with torch.no_grad():
        for parameter in full.model.parameters():
            parameter.mul_(1.01)
    again = load(str(saved(full, tmp_path / "final")))
    assert torch.equal(logits(again), logits(full))
    assert cast_any(again.tokenizer).chat_template == "{{ messages }}"
    tied = kind == "gemma2"
    assert ("lm_head.weight" in load_file(tmp_path / "final" / "model.safetensors")) is not tied


def cast_any(value: Any) -> Any:
    return value


def test_a_full_model_keeps_its_dtype(source: Path, tmp_path: Path) -> None:
    full = adapters.start_full(load(str(source), dtype="bfloat16"))
    state = load_file(saved(full, tmp_path / "final") / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}


def test_new_tokens_need_full_training(source: Path, tmp_path: Path) -> None:
    names = [f"<|turn{i}|>" for i in range(6)]
    with pytest.raises(ModelError, match="needs tokens that this model does not have"):
        adapters.add_tokens(load(str(source)), names, full=False)
    loaded = load(str(source))
    assert adapters.add_tokens(loaded, ["</s>"], full=False) is loaded
    grown = adapters.start_full(adapters.add_tokens(loaded, names, full=True))
    adapters.add_stop(grown, 305)
    again = load(str(saved(grown, tmp_path / "final")))
    assert again.tokenizer.convert_tokens_to_ids(names) == list(range(300, 306))
    assert again.stop_ids == (1, 305)
    weight: Any = again.core.get_parameter("model.embed_tokens.weight")
    assert weight.shape[0] == 306
    original = load(str(source)).core.get_parameter("model.embed_tokens.weight")
    torch.testing.assert_close(weight[300], original.mean(0), rtol=0, atol=1e-6)
    assert torch.equal(weight[300], weight[305])


def test_a_stop_token_travels_with_an_adapter(source: Path, tmp_path: Path) -> None:
    tuned = taught(load(str(source)))
    adapters.add_stop(tuned, 7)
    assert load(str(saved(tuned, tmp_path / "sft"))).stop_ids == (1, 7)
