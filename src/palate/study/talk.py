"""One model to talk to, rendered as it was trained; for a file of prompts see `sampling`."""

from palate.config import DrawOptions, PromptOptions
from palate.data.rows import Message, Text
from palate.engine.sample import SampleSettings
from palate.engine.sample import sample as draw
from palate.study.source import open_source
from palate.train.events import Listener


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
        settings = SampleSettings(
            max_new_tokens=self._options.max_new_tokens,
            temperature=self._options.temperature,
            top_p=self._options.top_p,
            stop_ids=tuple(sorted(self._opened.renderer.stop_ids)),
        )
        (answer,) = draw(self._opened.loaded, [ids], settings, seed=self._options.seed)
        return answer.text
