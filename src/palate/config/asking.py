"""The flags of what looks, draws and measures.  Nothing of it is resumed, so all of it is free."""

from pathlib import Path
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from palate.config.base import Model, comma_separated, free, named_once, parted
from palate.config.rows import DrawOptions, PromptOptions, RowOptions


class ExplainOptions(RowOptions):
    """`palate explain`.  Nothing here is resumed, so all of it is free."""

    objective: str | None = free(None, "explain under this objective (default: the run's, or dpo)")
    beta: float | None = free(None, "its beta (default: the run's, or the objective's own)", gt=0)
    option: tuple[str, ...] = free((), "its other options: gamma=0.5,mean=token")
    reference: str | None = free(None, "the model to measure against, if palate did not train this")
    pair: int | None = free(None, "this row alone, 1 for the first", ge=1)
    detail: int = free(500, "rows shown token by token, the heaviest first", ge=1)
    prompt: str | None = free(None, "a pair typed in instead of a file: its prompt")
    chosen: str | None = free(None, "its better answer")
    rejected: str | None = free(None, "its near-miss")

    _options = field_validator("option", mode="before")(comma_separated)
    _named = field_validator("option")(named_once)

    @property
    def objective_options(self) -> dict[str, Any]:
        """What was asked of the objective."""
        beta = {} if self.beta is None else {"beta": self.beta}
        return beta | parted(self.option)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = (self.prompt, self.chosen, self.rejected)
        if None in given and any(given):
            raise ValueError("a pair typed in needs --prompt, --chosen and --rejected")
        return self


class DoctorOptions(RowOptions):
    """`palate doctor`.  Nothing here is resumed, so all of it is free."""

    model: str | None = free(None, "also ask this model: a run of palate, or any Hugging Face one")
    heldout: str | None = free(None, "file that will be evaluated on: is any of it in here too?")
    samples: str | None = free(
        None, "prompts that the model writes texts for (default: 64; 0: none), or a file of them"
    )
    beta: float | None = free(None, "the beta you will train with (default: 0.1)", gt=0)


class SampleConfig(DrawOptions, PromptOptions):
    """`palate sample`: completions for a file of prompts."""

    n: int = free(1, "completions per prompt", ge=1)
    temperatures: tuple[float, ...] = free(
        (), "several instead of one, in turn over a prompt's texts: 0.7,1.0,1.3"
    )
    top_ps: tuple[float, ...] = free((), "the same for the likeliest share: 0.9,1.0")
    endpoint: str | None = free(
        None,
        "ask an OpenAI-compatible server (Ollama, vLLM, llama.cpp ...) for the model of that name;"
        " its key is read from PALATE_API_KEY",
    )
    insecure: bool = free(False, "let prompts go to another machine over plain http")
    vllm: bool = free(False, "draw with vLLM instead of transformers (extra vllm)")

    _numbers = field_validator("temperatures", "top_ps", mode="before")(comma_separated)

    @field_validator("temperatures", "top_ps")
    @classmethod
    def _within(cls, given: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.field_name == "temperatures" and min(given, default=0) < 0:
            raise ValueError("each must be 0 or more")
        if info.field_name == "top_ps" and any(not 0 < value <= 1 for value in given):
            raise ValueError("each must be more than 0, and 1 at most")
        return given


class EvaluateOptions(DrawOptions):
    """`palate evaluate`.  Nothing here is resumed, so all of it is free."""

    against: tuple[str, ...] = free((), "compare with these (default: what the run started from)")
    prompts: str | None = free(
        None, "held-out prompts that texts are drawn for (default: those of the pairs)"
    )
    pairs: str | None = free(
        None, "held-out pairs (default: the store's, or the run's own that chose no weights)"
    )
    store: Path | None = free(None, "your judgements: it measures agreement with you")
    ask: bool = free(False, "with --store: put the texts there for you to judge blind")
    judge_with: str | None = free(
        None, "demo, or the URL of an OpenAI-compatible server, which judges in both orders"
    )
    judge_model: str | None = free(None, "with --judge-with: which model of that server")
    insecure: bool = free(False, "with --judge-with: plain http to another machine")
    reward: str | None = free(
        None, "what gives points: demo, a rubric in TOML, or the folder of a reward model"
    )
    rubric: Path | None = free(None, "checks in TOML: which of them the texts pass")
    control: str | None = free(None, "the same recipe on random labels: palate dpo --random-labels")
    examples: str | None = free(
        None, "what was imitated, for --baselines and what SFT forgot (default: the SFT run's data)"
    )
    baselines: bool = free(
        False, "also the untuned model with 1, 3 and 5 examples, and the best of n by --reward"
    )
    frontier: bool = free(False, "also points and KL of every checkpoint kept (needs --reward)")
    n: int = free(4, "texts per prompt; a model or a person judges the first alone", ge=1)

    _runs = field_validator("against", mode="before")(comma_separated)


class BestOfNOptions(DrawOptions, PromptOptions):
    """`palate best-of-n`.  Nothing here is resumed, so all of it is free."""

    reward: str = free(
        ..., "what gives points: demo, a rubric in TOML, or the folder of a reward model"
    )
    out: Path = free(
        ..., "file of the best texts; all texts go beside it, and the same command continues"
    )
    n: int = free(4, "texts drawn for each prompt", ge=2)


class ReportOptions(Model):
    """`palate report`.  Nothing here is resumed, so all of it is free."""

    out: Path | None = free(None, "the page (default: report.html in the run's folder)")
