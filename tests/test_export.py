import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from palate.engine import adapters
from palate.engine.adapters import Lora
from palate.engine.model import load, quiet
from palate.errors import ModelError, NumericsError, UsageError
from palate.export import merge
from palate.export.merge import export


def adapter_run(base: Path, run: Path, *, size: float = 0.3, dtype: Any = None) -> Path:
    """A run folder whose `final/` is a taught adapter on `base`."""
    tuned = adapters.start_lora(load(str(base), dtype=dtype), Lora(4, 8.0), seed=0)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in adapters.trainable(tuned.model).items():
            if "lora_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    (run / "final").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"schema": 1}))
    adapters.save_final(tuned, run / "final")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    base = tiny.folder(tmp_path / "base", chat_template="{{ messages }}")
    return adapter_run(base, tmp_path / "run")


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"base", "run"}


def test_the_export_says_what_the_run_says(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parity = export(str(run), out)
    assert parity.ids_equal
    assert parity.prompts == 4
    assert parity.max_logp_diff < 1e-4 < 0.1 < parity.effect
    factory: Any = AutoModelForCausalLM
    with quiet():
        plain = factory.from_pretrained(out)
        tokens: Any = AutoTokenizer.from_pretrained(out)
    ids = tokens("the flat is near the river", return_tensors="pt").input_ids
    source: Any = load(str(run)).core
    with torch.no_grad():
        torch.testing.assert_close(
            plain(input_ids=ids).logits, source(input_ids=ids).logits, rtol=0, atol=1e-4
        )
    assert tokens.chat_template == "{{ messages }}"
    assert not list(out.glob("adapter*"))
    assert leftovers(tmp_path) == {"out"}


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_family_exports(kind: str, tmp_path: Path) -> None:
    run = adapter_run(tiny.folder(tmp_path / "base", kind), tmp_path / "run")
    parity = export(str(run), tmp_path / "out")
    assert parity.max_logp_diff < 1e-3 < 0.05 < parity.effect


def test_a_full_model_exports_unchanged(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base", "gemma2")
    parity = export(str(base), tmp_path / "out", prompts=["two baths", "by the river"])
    assert (parity.max_logp_diff, parity.effect, parity.prompts) == (0.0, 0.0, 2)


def test_a_wrong_merge_is_not_handed_over(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(model: Any) -> Any:
        whole = adapters.merged(model)
        with torch.no_grad():
            whole.get_parameter("model.layers.1.mlp.up_proj.weight")[3].mul_(0.5)
        return whole

    monkeypatch.setattr(merge, "merged", faulty)
    with pytest.raises(NumericsError, match="log-probs differ by up to"):
        export(str(run), tmp_path / "out")
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [0.3, 0.03])
def test_a_forgotten_adapter_is_noticed(
    dtype: Any, size: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the whole effect of the adapter is less than bf16's tolerance."""
    run = adapter_run(tiny.folder(tmp_path / "base"), tmp_path / "run", size=size)
    assert export(str(run), tmp_path / "right", dtype=dtype).effect > 0.05
    monkeypatch.setattr(merge, "merged", lambda model: model.unload())
    with pytest.raises(NumericsError, match="The merged model is not"):
        export(str(run), tmp_path / "out", dtype=dtype)
    assert leftovers(tmp_path) == {"right"}


def test_another_tokenizer_is_noticed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(loaded: Any, folder: Path) -> None:
        adapters.save_final(loaded, folder)
        tiny.tokenizer(adds_bos=True).save_pretrained(folder)

    monkeypatch.setattr(merge, "save_final", save)
    with pytest.raises(ModelError, match="reads text otherwise"):
        export(str(run), tmp_path / "out")
    assert leftovers(tmp_path) == set()


def test_a_taken_folder_is_left_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        export(str(run), out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_the_dtype_asked_for_is_written(run: Path, tmp_path: Path) -> None:
    export(str(run), tmp_path / "out", dtype="bfloat16")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
