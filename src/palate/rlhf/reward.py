"""A reward model in use: answers in, numbers out, packed, with the prompt's tokens shared.

Reads a run of `palate reward`, or anybody's sequence classification folder with one label.  Refuses
a policy, an unfinished run, several labels, and a tokenizer that is not the policy's.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from palate.config import Dtype, RowOptions
from palate.data import plain
from palate.data.render import Renderer
from palate.data.rewards import Answered
from palate.data.rows import Conversation, Example, Item, Message, Origin, Text
from palate.data.rows import Sequence as Tokens
from palate.data.tokens import RowFault
from palate.engine.classifier import Classifier, read_classifier
from palate.engine.value import reward_items
from palate.errors import DataError, NumericsError, UsageError
from palate.runs.folder import RECORD, Run
from palate.train.defaults import TOKEN_BUDGET

_LAID_OUT = ("join", "plain")
_ANSWER = Origin("answer", 0)
_SHOWN = 40


class OpenedReward:
    """A reward model, ready to score: what `data.rewards.Reward` asks for, and its tokenizer.

    `mean` and `std` of its rewards on held-out answers are there if palate trained it.
    """

    kind: Literal["program", "model"] = "model"
    models = 1

    def __init__(self, name: str, read: Classifier, record: dict[str, Any] | None) -> None:
        self.name = name
        self.tokenizer = read.tokenizer
        self.notes = read.notes
        self._read = read
        self._own = record is not None
        config = {} if record is None else record["config"]
        options = RowOptions(**{name: config[name] for name in _LAID_OUT if name in config})
        self._renderer = Renderer(read.tokenizer, options, context=read.context)
        self._budget = TOKEN_BUDGET[read.model.device.type]
        facts = {} if record is None else record["reward"]
        self.mean: float | None = facts.get("mean")
        self.std: float | None = facts.get("std")

    @property
    def identity(self) -> str:
        """sha256 of weights, tokenizer, and how a prompt and an answer are joined."""
        options, backend = self._renderer.options, self.tokenizer.backend_tokenizer.to_str()
        about = (self._read.identity, backend, str(self.tokenizer.chat_template), options.join)
        return hashlib.sha256(repr((*about, options.plain)).encode()).hexdigest()

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """One reward per answer.  Raises DataError (an answer too long), NumericsError."""
        if not answered:
            return []
        items = [self._item(each) for each in answered]
        rewards = reward_items(self._read.model, items, self._budget)[:, 0].double().tolist()
        if not all(map(math.isfinite, rewards)):
            raise NumericsError(
                f"the reward model {self.name} gives a reward that is not finite.",
                hint="Are its weights sound?",
            )
        return rewards

    def _item(self, one: Answered) -> Item:
        """The answer after its prompt; a prompt's answers share its tokens."""
        ids = self._ids(one)
        while ids and ids[-1] == self._read.pad:  # its class pools at the last token before these
            ids = ids[:-1]
        if not 1 < len(ids) <= self._read.context:
            raise DataError(
                f"a prompt and an answer have {len(ids)} tokens; the reward model {self.name} takes"
                f" 2 to {self._read.context}: {_start(one.prompt)}",
                hint="Shorten the prompts, or lower --max-new-tokens.",
            )
        return Item((Tokens(ids, ((1, len(ids)),), 1),), repr(one.prompt), _ANSWER)

    def _ids(self, one: Answered) -> tuple[int, ...]:
        try:
            ids = self._turns(one) if self._renderer.turns(one.prompt) else self._plain(one)
        except RowFault as fault:
            raise DataError(f"an answer to {_start(one.prompt)}: {fault}") from None
        while not one.ended and ids and ids[-1] in self._renderer.stop_ids:
            ids = ids[:-1]
        return ids

    def _plain(self, one: Answered) -> tuple[int, ...]:
        """As the policy wrote it: joined to the prompt as for sampling."""
        assert isinstance(one.prompt, str)
        opening = one.prompt + plain.seam(one.prompt, ("a",), self._renderer.options.join)
        tokenizer: Any = self.tokenizer
        return plain.sequences(tokenizer, opening, {"answer": one.answer})[0].ids

    def _turns(self, one: Answered) -> tuple[int, ...]:
        """Up to the end of the answer's turn, as it was trained; a foreign model reads it whole."""
        if not one.answer.strip():
            ends = self._renderer.stop_ids
            end = min(ends - {self.tokenizer.eos_token_id}, default=min(ends))
            return (*self._renderer.prompt_ids(one.prompt), end)
        if self._own or not one.ended:
            row = Example(one.prompt, one.answer, _ANSWER)
            return self._renderer.draft(row).sequences[0].ids
        return self._renderer.chat.whole((*_talk(one.prompt), _said(one)), "answer").ids


def open_reward(path: str, *, dtype: Dtype | None = None) -> OpenedReward:
    """The reward model in a run, a folder or a hub id.  Raises ModelError, UsageError."""
    run = _run_of(Path(path))
    record = None if run is None else Run.read(run)
    if run is not None and record is not None:
        if record["stage"] != "reward":
            raise UsageError(
                f"{run} is a run of palate {record['stage']}: it has no reward to give.",
                hint="Train one with palate reward, and name that run.",
            )
        if not record["finished"]:
            raise UsageError(
                f"the reward model {run} is not finished.", hint="Repeat its command: it continues."
            )
    return OpenedReward(path, read_classifier(path, dtype=dtype), record)


def require_same_tokenizer(reward: object, tokenizer: Any, policy: str) -> None:
    """Raise UsageError if `reward` is a model that reads other tokens than the policy writes.

    Padding may differ: no text holds it.
    """
    if not isinstance(reward, OpenedReward):
        return
    ours, theirs = reward.tokenizer, tokenizer
    padding = {ours.pad_token, theirs.pad_token}
    if _vocabulary(ours, padding) != _vocabulary(theirs, padding):
        raise UsageError(
            f"the reward model {reward.name} has another tokenizer than the policy {policy}.",
            hint="Train a reward model from the same base: palate reward --model ...",
        )


def _vocabulary(tokenizer: Any, padding: set[Any]) -> tuple[Any, ...]:
    """Ids of all tokens but padding, and those that begin and end a text."""
    known = {token: i for token, i in tokenizer.get_vocab().items() if token not in padding}
    return known, tokenizer.bos_token_id, tokenizer.eos_token_id


def _run_of(path: Path) -> Path | None:
    """The run that a folder is, or that it is the `final/` of."""
    if (path / RECORD).exists():
        return path
    return path.parent if path.name == "final" and (path.parent / RECORD).exists() else None


def _talk(prompt: Text) -> Conversation:
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


def _said(one: Answered) -> Message:
    return Message("assistant", one.answer)


def _start(prompt: Text) -> str:
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
