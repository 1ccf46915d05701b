import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from palate.engine import identity
from palate.engine.model import Loaded, decide_dtype, load
from palate.errors import ModelError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(source, tmp_path / "llama"))


def adapter_folder(path: Path, base: str, *, layers: int = 3, width: int = 32) -> Path:
    """An adapter as another tool would save it."""
    path.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
    }
    (path / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(5)
    state = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        state[f"{name}.lora_A.weight"] = torch.randn(2, width, generator=generator)
        state[f"{name}.lora_B.weight"] = torch.randn(32, 2, generator=generator)
    save_file(state, path / "adapter_model.safetensors")
    return path


def logits(loaded: Loaded) -> torch.Tensor:
    model: Any = loaded.core
    with torch.no_grad():
        out: torch.Tensor = model(input_ids=torch.tensor([[5, 9, 200, 31, 7]])).logits
    return out


def test_a_folder_is_loaded_as_it_is(source: Path) -> None:
    loaded = load(str(source), dtype="float64")
    expected = tiny.model("llama", dtype=torch.float32).double()
    with torch.no_grad():
        wanted = expected(input_ids=torch.tensor([[5, 9, 200, 31, 7]])).logits
    torch.testing.assert_close(logits(loaded), wanted, rtol=0, atol=1e-6)
    assert (loaded.base, loaded.adapter, loaded.notes) == (str(source.resolve()), None, ())
    assert (loaded.context, loaded.stop_ids) == (256, (1,))
    assert loaded.dtype == torch.float64
    assert loaded.dtype_reason == "asked for"
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training


@pytest.mark.parametrize("kind", tiny.KINDS + tiny.FALLBACK_KINDS)
def test_every_family_loads(kind: str, tmp_path: Path) -> None:
    loaded = load(str(tiny.folder(tmp_path / kind, kind)))
    assert loaded.dtype == next(loaded.model.parameters()).dtype == torch.float32
    assert loaded.notes == ()


def test_the_real_model_loads(shared_data: Path) -> None:
    loaded = load(str(shared_data / "stories260K"))
    assert loaded.context == 512
    assert loaded.stop_ids == (1, 2)
    assert sum(p.numel() for p in loaded.model.parameters()) == 260_032


def test_the_dtype_is_decided_with_a_reason() -> None:
    assert decide_dtype(None, torch.device("cpu")) == (torch.float32, "the exact choice on a CPU")
    assert decide_dtype("bfloat16", torch.device("cpu"))[0] == torch.bfloat16


def test_a_run_is_its_final_folder(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="not finished"):
        load(str(run))
    folder.rename(run / "final")
    loaded = load(str(run))
    assert loaded.base == str((run / "final").resolve())
    assert loaded.source == str(run)


def test_a_misspelt_folder_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelError, match="not a folder and not a hub id") as caught:
        load(str(folder.parent / "lama"))
    assert f"Near: {folder}" in str(caught.value)


def test_a_hub_id_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(ModelError, match="cannot be had from the hub") as caught:
        load("lamma")
    assert "Near: llama" in str(caught.value)


def test_only_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights") as caught:
        load(str(folder))
    assert "Convert them" in caught.value.hint


def test_a_folder_without_weights_or_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(folder))
    with pytest.raises(ModelError, match="is a file"):
        load(str(folder / "tokenizer.json"))


def test_missing_tensors_are_not_drawn_at_random(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.down_proj.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the .*layers\.1\.mlp\.down_proj"):
        load(str(folder))


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"] = torch.ones(5)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder))


def test_cut_off_weights_are_refused(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 5000)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder))


def test_tensors_of_no_use_are_noted(folder: Path) -> None:
    state = load_file(folder / "model.safetensors") | {"visual.patch": torch.ones(2)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert any("visual.patch" in note for note in load(str(folder)).notes)


def test_quantised_weights_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="quantised"):
        load(str(folder))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_a_missing_tokenizer_is_refused(kind: str, tmp_path: Path) -> None:
    """For some families transformers would silently make an empty one."""
    folder = tiny.folder(tmp_path / kind, kind)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        load(str(folder))


def test_ids_past_the_embedding_are_refused(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "short", vocab_size=290)
    with pytest.raises(ModelError, match="290 rows; 10 tokens are past its end"):
        load(str(folder))


def test_a_spare_special_token_past_the_embedding_is_noted(folder: Path) -> None:
    tokens = tiny.tokenizer()
    tokens.add_tokens([f"word{i}" for i in range(4)])
    tokens.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokens.save_pretrained(folder)
    (note,) = load(str(folder)).notes
    assert "<image>" in note
    assert "no embedding" in note


def test_remote_code_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "homemade"
    config["auto_map"] = {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ModelError, match="its own Python code"):
        load(str(folder))


def test_an_adapter_of_another_tool_is_followed_to_its_base(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(folder))
    loaded = load(str(adapter), dtype="float64")
    assert (loaded.base, loaded.adapter) == (str(folder.resolve()), str(adapter.resolve()))
    plain = load(str(folder), dtype="float64")
    assert (logits(loaded) - logits(plain)).abs().max() > 0.1
    state = load_file(adapter / "adapter_model.safetensors")
    with torch.no_grad():  # by hand: W + (alpha / r) B A
        for layer in range(3):
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            down, up = state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]
            weight: Any = plain.core.get_parameter(f"model.layers.{layer}.self_attn.q_proj.weight")
            weight += 2 * up.double() @ down.double()
    torch.testing.assert_close(logits(loaded), logits(plain), rtol=0, atol=1e-6)


def test_a_relative_base_lies_beside_its_adapter(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", "../llama")
    assert load(str(adapter)).base == str(folder.resolve())


def test_a_base_that_is_gone(tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(tmp_path / "gone"))
    with pytest.raises(ModelError, match=r"base of the adapter .* is missing"):
        load(str(adapter))


def test_an_adapter_on_an_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    first = adapter_folder(tmp_path / "first", str(folder))
    second = adapter_folder(tmp_path / "second", str(first))
    with pytest.raises(ModelError, match="is an adapter too"):
        load(str(second))


def test_an_adapter_of_a_deeper_base_is_refused(folder: Path, tmp_path: Path) -> None:
    """peft would drop the layers that the base does not have."""
    adapter = adapter_folder(tmp_path / "adapter", str(folder), layers=4)
    with pytest.raises(ModelError, match=r"does not fit its base .* 2 tensors do not match"):
        load(str(adapter))


def test_an_adapter_that_lacks_layers_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(folder), layers=2)
    with pytest.raises(ModelError, match="2 tensors do not match"):
        load(str(adapter))


def test_an_adapter_of_a_wider_base_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(folder), width=64)
    with pytest.raises(ModelError, match="does not fit its base"):
        load(str(adapter))


def test_an_adapter_of_another_family_is_refused(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "gpt2", "gpt2")
    adapter = adapter_folder(tmp_path / "adapter", str(base))
    with pytest.raises(ModelError, match="does not fit its base"):
        load(str(adapter))


def test_an_adapter_that_is_not_lora_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(folder))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(ModelError, match="type IA3"):
        load(str(adapter))


def test_a_pickled_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "adapter", str(folder))
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        load(str(adapter))


def test_identity_follows_content_alone(folder: Path, source: Path, tmp_path: Path) -> None:
    one = load(str(source)).identity
    assert load(str(folder)).identity == one
    adapter = adapter_folder(tmp_path / "adapter", str(folder))
    tuned = load(str(adapter)).identity
    moved = Path(shutil.copytree(adapter, tmp_path / "moved"))
    config = json.loads((moved / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(source)
    (moved / "adapter_config.json").write_text(json.dumps(config))
    assert load(str(moved)).identity == tuned != one
    (moved / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 8}))
    assert load(str(moved)).identity != tuned
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"][0] += 1e-6
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert load(str(folder)).identity != one


def test_a_large_file_is_hashed_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(identity, "REMEMBER_FROM", 0)
    weights = folder / "model.safetensors"
    right = identity.file_digest(weights)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_digest", lambda path: pytest.fail("hashed twice"))
        assert identity.file_digest(weights) == right
    os.utime(weights, ns=(1, 1))
    monkeypatch.setattr(identity, "_digest", lambda path: "hashed again")
    assert identity.file_digest(weights) == "hashed again"


def test_a_damaged_memory_of_hashes_is_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path))
    monkeypatch.setattr(identity, "REMEMBER_FROM", 0)
    (tmp_path / "hashes.json").write_text("[torn")
    right = identity.file_digest(folder / "model.safetensors")
    assert right in (tmp_path / "hashes.json").read_text()
