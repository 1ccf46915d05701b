"""How rows and prompts are read and written out, and how a text is drawn."""

from typing import Literal

from pydantic import field_validator

from palate.config.base import Model, comma_separated, free, frozen


class PromptOptions(Model):
    """How a prompt is read and written out; `model_fields_set` tells what the user asked for."""

    map: tuple[str, ...] = frozen((), "rename fields: prompt=mr,completion=human")
    format: str = free(
        "auto",
        "whose fields the data has, told by its first row if auto: palate, sharegpt,"
        " llamafactory, alpaca, alpaca-pairs, alpaca-kto, hh, openai, openai-pairs,"
        " ultrafeedback-binarized, ultrafeedback, scored, stack-exchange, kto",
    )
    join: str | None = frozen(
        None,
        "between a plain prompt and completion (default: a newline if the seam has no white space)",
    )
    plain: bool = frozen(False, "treat strings as plain text even if the model has a chat template")
    chat_template: str | None = frozen(
        None, "a template by name (chatml) or a Jinja file, for a model without one"
    )

    _words = field_validator("map", mode="before")(comma_separated)


class RowOptions(PromptOptions):
    """How a row becomes token ids."""

    max_length: int | None = frozen(
        None, "longest sequence in tokens (default: the model's context)", ge=2
    )
    truncate: Literal["prompt-left"] | None = frozen(
        None, "cut over-long prompts from the left instead of stopping"
    )
    drop_long: bool = frozen(False, "leave over-long rows out, and name them, instead of stopping")


class DrawOptions(Model):
    """How a text is drawn (`palate chat`).  Nothing here is resumed, so all of it is free."""

    temperature: float = free(1.0, "0 takes the likeliest token each time", ge=0)
    top_p: float = free(1.0, "draw from the likeliest tokens that hold this share", gt=0, le=1)
    max_new_tokens: int = free(256, "longest completion in tokens", ge=1)
    seed: int = free(0, "each text is a function of (seed, prompt, index) alone", ge=0)
