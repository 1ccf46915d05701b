"""Where the weights are: a run of palate, a Hugging Face or PEFT adapter folder, or a hub id.

Everything becomes local folders with safetensors in them.  Refused: pickled weights, a name that is
neither a folder nor a hub id (the nearest folder is named), an unfinished run, a base that is gone.
"""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from palate.engine.identity import weight_files
from palate.errors import ModelError

ADAPTER = "adapter_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
_HUB_LEFT = ["*/*", "consolidated*"]  # other formats of the same weights
_CONVERT = (
    "Convert them once, where you trust them: `AutoModelForCausalLM.from_pretrained(folder)"
    ".save_pretrained(new)` writes safetensors."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Local folders of a model.  `base_name` is what an adapter should call its base."""

    base: Path
    base_name: str
    adapter: Path | None = None


def locate(source: str, *, trust_remote_code: bool = False) -> Place:
    """Find the folder of the base weights and, if `source` is an adapter, that of the adapter."""
    folder, name = _folder(source, trust_remote_code=trust_remote_code)
    if not (folder / ADAPTER).exists():
        _require_model(folder, source)
        return Place(folder, name)
    _require_safetensors(folder, f"the adapter {source}")
    wanted = _base_of(folder, source)
    base, base_name = _base_folder(wanted, folder, trust_remote_code=trust_remote_code)
    if (base / ADAPTER).exists():
        raise ModelError(
            f"{source} is an adapter whose base, {wanted}, is an adapter too.",
            hint="Merge the base first: `palate export BASE --out DIR`.",
        )
    _require_model(base, wanted)
    return Place(base, base_name, folder)


def _folder(source: str, *, trust_remote_code: bool) -> tuple[Path, str]:
    """The folder behind a name, and the name to write down for it."""
    if not source.strip():
        raise ModelError("The name of the model is empty.", hint="Name a folder or a hub id.")
    path = Path(source).expanduser()
    if path.is_file():
        raise ModelError(f"{source} is a file.", hint="Name the folder of the model.")
    if path.is_dir():
        path = _final(path) if (path / "run.json").exists() else path
        return path, str(path.resolve())
    if not _HUB_ID.fullmatch(source) or source.startswith("."):
        raise ModelError(f"'{source}' is not a folder and not a hub id.", hint=_near(path))
    return _download(source, trust_remote_code=trust_remote_code), source


def _final(run: Path) -> Path:
    if not (run / "final").is_dir():
        raise ModelError(
            f"The run {run} has no final weights: it is not finished.",
            hint="Repeat its command: it continues.",
        )
    return run / "final"


def _download(hub_id: str, *, trust_remote_code: bool) -> Path:
    """The hub's files, from the local hub cache where they are there already."""
    files = [*_HUB_FILES, "*.py"] if trust_remote_code else _HUB_FILES
    try:
        return Path(snapshot_download(hub_id, allow_patterns=files, ignore_patterns=_HUB_LEFT))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"'{hub_id}' is not a folder, and cannot be had from the hub: {_reason(error)}.",
            hint=_hint(error, hub_id),
        ) from error


def _reason(error: Exception) -> str:
    """Why the hub gave nothing, in words; huggingface_hub's own go over many lines."""
    if isinstance(error, GatedRepoError):
        return "its licence has to be accepted first"
    if isinstance(error, RepositoryNotFoundError):
        return "it has no such model, or a private one"
    if isinstance(error, LocalEntryNotFoundError | ConnectionError):
        return "the hub cannot be reached, and the model was not downloaded before"
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _hint(error: Exception, hub_id: str) -> str:
    if isinstance(error, GatedRepoError):
        return f"Accept it at https://huggingface.co/{hub_id}, then: hf auth login"
    return _near(Path(hub_id))


def _near(path: Path) -> str:
    """The existing folder whose name is most like `path`, part by part."""
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        if (found / part).is_dir():
            found = found / part
            continue
        inside = [entry.name for entry in found.iterdir() if entry.is_dir()]
        close = difflib.get_close_matches(part, inside, n=1)
        if not close:
            return "Check the spelling."
        found = found / close[0]
    return f"Near: {found}"


def _base_of(adapter: Path, source: str) -> str:
    """The base that an adapter names."""
    try:
        config: Any = json.loads((adapter / ADAPTER).read_bytes())
        kind, base = config["peft_type"], config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{adapter / ADAPTER} cannot be read: {error!r}.", hint="Save the adapter again."
        ) from error
    if kind != "LORA":
        raise ModelError(
            f"{source} is an adapter of type {kind}; palate reads LoRA.",
            hint="Merge it into its base with the tool that made it.",
        )
    if not base:
        raise ModelError(
            f"{adapter / ADAPTER} does not name its base.", hint="Fill in base_model_name_or_path."
        )
    return str(base)


def _base_folder(wanted: str, adapter: Path, *, trust_remote_code: bool) -> tuple[Path, str]:
    """A relative base is sought beside the adapter first, then from here."""
    beside = adapter / wanted
    try:
        return _folder(
            str(beside) if beside.is_dir() else wanted, trust_remote_code=trust_remote_code
        )
    except ModelError as error:
        raise ModelError(
            f"The base of the adapter {adapter} is missing. {error.message}",
            hint=f"Correct base_model_name_or_path in {adapter / ADAPTER}. {error.hint}",
        ) from error


def _require_model(folder: Path, source: str) -> None:
    if not (folder / "config.json").exists():
        inside = sorted(path.name for path in folder.iterdir())[:6]
        raise ModelError(
            f"{source} holds no model: there is no config.json among {inside}.",
            hint="Name a run of palate, a Hugging Face folder, or a PEFT adapter folder.",
        )
    _require_safetensors(folder, source)


def _require_safetensors(folder: Path, source: str) -> None:
    if weight_files(folder):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{source} has only pickled weights ({', '.join(pickles[:3])}), which can run code"
            " when they are read.",
            hint=_CONVERT,
        )
    raise ModelError(f"{source} has no weights: no *.safetensors in it.", hint="Download it again.")
