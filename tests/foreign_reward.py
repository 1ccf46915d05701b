"""A reward model as anybody may have one: a sequence classification folder with one label."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification

import tiny


def classifier(path: Path, *, start: str = "<s>") -> Path:
    """Save one; `start` renames the token that begins a text, and so makes another tokenizer."""
    factory: Any = AutoModelForSequenceClassification
    options = tiny.config("llama", num_hidden_layers=1)
    options.num_labels = 1
    factory.from_config(options).save_pretrained(path)
    tokens = tiny.tokenizer()
    tokens.save_pretrained(path)
    if start != "<s>":
        raw = (path / "tokenizer.json").read_text().replace('"<s>"', f'"{start}"')
        (path / "tokenizer.json").write_text(raw)
        about = (path / "tokenizer_config.json").read_text().replace('"<s>"', f'"{start}"')
        (path / "tokenizer_config.json").write_text(about)
    return path
