"""Chat templates for a base model that has none: two built in, or a Jinja file.

`plain-turns` needs no new token and ends a turn with EOS.  `chatml` marks turns with two special
tokens, which the vocabulary must have or the loader must add and train.  A model's own template is
never replaced.
"""

import re
from pathlib import Path
from typing import Any

from palate.data.tokens import Tokenizer, encode
from palate.errors import ModelError, UsageError

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PLAIN_TURNS = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] | trim + '\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] | trim + eos_token + '\\n' }}"
    "{% else %}{{ raise_exception('plain-turns has no ' + message['role'] + ' turns') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
BUILT_IN = {"chatml": _CHATML, "plain-turns": _PLAIN_TURNS}
_MARKS = re.compile(r"<\|[^|<>\s]+\|>|<[a-z]+_of_[a-z]+>")
_LONGEST = 1 << 20


def apply_template(tokenizer: Any, name_or_file: str) -> tuple[str, ...]:
    """Give the tokenizer a template; return the turn marks it writes that are no single tokens.

    Raises UsageError for an unknown name, ModelError when the model has another template.
    """
    template = _source(name_or_file)
    if _adds_bos(tokenizer) and "bos_token" not in template:
        template = "{{ bos_token }}" + template
    if tokenizer.chat_template and tokenizer.chat_template != template:
        what = "The model has its own chat template, which --chat-template would replace."
        raise ModelError(what, hint="Leave --chat-template out.")
    tokenizer.chat_template = template
    return missing_tokens(tokenizer, template)


def missing_tokens(tokenizer: Tokenizer, template: str) -> tuple[str, ...]:
    """Turn marks such as <|im_end|> in a template that the vocabulary splits into pieces."""
    marks = dict.fromkeys(_MARKS.findall(template))
    return tuple(mark for mark in marks if not _single(tokenizer, mark))


def _single(tokenizer: Tokenizer, mark: str) -> bool:
    ids = encode(tokenizer, mark, special=False).ids
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


def _adds_bos(tokenizer: Tokenizer) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and encode(tokenizer, "a", special=True).ids[0] == bos


def _source(name_or_file: str) -> str:
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file]
    path = Path(name_or_file).expanduser()
    if not path.is_file():
        what = f"--chat-template '{name_or_file}' is neither a built-in template nor a file."
        raise UsageError(what, hint=f"Built in: {', '.join(BUILT_IN)}.")
    if path.stat().st_size > _LONGEST:
        raise UsageError(f"{path} is more than 1 MB, which no chat template is.")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({error.reason}).") from None
