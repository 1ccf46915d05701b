"""Completions from a model, rendered as it was trained: for a file of prompts, or one at a time."""

import hashlib
import json
from typing import Any

from palate.config import DrawOptions, PromptOptions, SampleConfig
from palate.data.rows import Message, Text
from palate.data.sources import parse_map, read_prompts
from palate.engine.sample import SampleSettings
from palate.engine.sample import sample as draw
from palate.study.source import open_source
from palate.train.events import Listener, Note, Working


def sample(
    model: str, prompts: str, config: SampleConfig, listen: Listener
) -> tuple[dict[str, Any], ...]:
    """Draw `config.n` completions for each prompt of a file, one record each.

    Each text is a function of (seed, prompt, index) alone; `id` is a hash of what made it.
    """
    found = read_prompts(prompts, mapping=parse_map(config.map), format=config.format)
    for note in found.notes:
        listen(Note(note))
    opened = open_source(model, config, listen)
    texts: list[Text] = [row.prompt for row in found.rows if row.prompt is not None]
    ids = [opened.renderer.prompt_ids(text) for text in texts]
    settings = _settings(config, config.n, opened.renderer.stop_ids)

    def progress(done: int, total: int) -> None:
        listen(Working("sampling", done, total))

    about = {
        **config.model_dump(mode="json", exclude={"map", "format"}),
        "model": opened.loaded.identity,
    }
    records = []
    for text in draw(opened.loaded, ids, settings, seed=config.seed, progress=progress):
        prompt = _plain(texts[text.prompt_index])
        made_by = json.dumps([about, prompt, text.index], sort_keys=True)
        records.append(
            {
                "id": hashlib.sha256(made_by.encode()).hexdigest()[:16],
                "line": found.rows[text.prompt_index].origin.line,
                "prompt": prompt,
                "index": text.index,
                "completion": text.text,
                "ended": text.ended,
                "seed": config.seed,
            }
        )
    return tuple(records)


class Chat:
    """One model to talk to; with a chat template the conversation so far is its prompt."""

    def __init__(self, model: str, options: DrawOptions, listen: Listener) -> None:
        self._opened = open_source(model, PromptOptions(), listen)
        self._options = options

    @property
    def keeps_history(self) -> bool:
        """Whether earlier turns are part of the prompt."""
        return self._opened.renderer.turns("")

    def reply(self, history: tuple[Message, ...]) -> str:
        """The answer to a conversation that ends in a user turn."""
        text: Text = history if self.keeps_history else history[-1].content
        ids = self._opened.renderer.prompt_ids(text)
        settings = _settings(self._options, 1, self._opened.renderer.stop_ids)
        (answer,) = draw(self._opened.loaded, [ids], settings, seed=self._options.seed)
        return answer.text


def _settings(options: DrawOptions, n: int, stop_ids: frozenset[int]) -> SampleSettings:
    return SampleSettings(
        max_new_tokens=options.max_new_tokens,
        completions=n,
        temperature=options.temperature,
        top_p=options.top_p,
        stop_ids=tuple(sorted(stop_ids)),
    )


def _plain(text: Text) -> str | list[dict[str, str]]:
    if isinstance(text, str):
        return text
    return [{"role": message.role, "content": message.content} for message in text]
