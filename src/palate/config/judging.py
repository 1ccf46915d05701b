"""The flags of what gives and uses verdicts."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from palate.config.base import Model, comma_separated, free, frozen
from palate.config.rows import PromptOptions


class TeachOptions(PromptOptions):
    """`palate teach`: rounds of draw, judge, prefer, compare."""

    out: Path = free(..., "folder of the rounds; the same command on it continues")
    rounds: int = free(2, "rounds; more of them later go on from the last", ge=1)
    judgements: int = free(100, "judgements a round, a fifth of them on held-out prompts", ge=1)
    n: int = frozen(4, "texts drawn for each prompt in each round", ge=2)
    judge_with: str | None = free(
        None, "demo, or the URL of an OpenAI-compatible server (default: you, at the page)"
    )
    judge_model: str | None = free(None, "with --judge-with: which model of that server")
    pick: Literal["active", "random"] = frozen(
        "random", "what to judge after the first round: at random, or by palate pick's figures"
    )
    beta: float | None = frozen(None, "DPO's pull to the starting model (default: 0.1)", gt=0)
    lr: float | None = frozen(None, "DPO's peak learning rate", gt=0)
    epochs: float | None = frozen(None, "DPO's passes over the pairs", gt=0)
    temperature: float = frozen(1.0, "of the texts that are judged and compared", ge=0)
    max_new_tokens: int = frozen(256, "longest text in tokens", ge=1)
    seed: int = frozen(0, "texts, picks and training are functions of it", ge=0)


class PickOptions(Model):
    """`palate pick`.  Nothing here is resumed, so all of it is free."""

    model: str | None = free(None, "the policy: a run of palate, or any Hugging Face model")
    how: Literal["active", "random"] = free(
        "active", "most informative first (needs --model), or random as its control"
    )
    n: int = free(100, "pairs planned; every fifth is a random held-out one", ge=1)
    seed: int = free(0, "what is random is a function of (seed, content) alone", ge=0)


class JudgeOptions(Model):
    """`palate judge`.  Nothing here is resumed, so all of it is free."""

    mode: Literal["pair", "rank", "edit", "write", "audit", "resolve", "recheck"] = free(
        "pair",
        "two answers at a time; the winner of a prompt stays (rank); make answers better (edit);"
        " write both (write); look again at chosen answers (audit), contradictions (resolve),"
        " doubts (recheck)",
    )
    judge: str | None = free(
        None, "who judges; with --export, whose pairs (default: the last one here, or me)"
    )
    tags: tuple[str, ...] = free(
        (), "reasons on the number keys, kept in the store (default: eight of a listing's)"
    )
    why: bool = free(False, "a verdict needs a tag or a reason")
    goal: int | None = free(None, "say so after this many judgements", ge=1)
    model: str | None = free(None, "while you write a pair: how plausible is it to this model?")
    port: int | None = free(
        None, "port on this machine (default: last time's, or any free one)", ge=1024, le=65535
    )
    no_browser: bool = free(False, "print the link, and open no browser")
    split: Literal["train", "heldout", "all"] | None = free(
        None, "with --export: these pairs alone (default: both splits, a file each)"
    )
    include: tuple[str, ...] = free(
        (), "with --export: also reasks, inferred (from rankings), ties (in a file of their own)"
    )
    judge_with: str | None = free(
        None,
        "it judges instead, under its own name: the URL of an OpenAI-compatible server, or demo,"
        " the taste of `palate demo` as a program",
    )
    judge_model: str | None = free(None, "with --judge-with: which model of that server")
    rubric: Path | None = free(None, "with --judge-with: a text that it is told to judge by")
    n: int = free(100, "with --judge-with: pairs it is to compare in all", ge=1)
    insecure: bool = free(False, "with --judge-with: plain http to another machine")
    map: tuple[str, ...] = free((), "with --add: rename fields: prompt=mr,completion=human")
    format: str = free(
        "auto", "with --add: whose fields the data has, told by its first row if auto"
    )

    _words = field_validator("tags", "include", "map", mode="before")(comma_separated)

    @field_validator("include")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(words) - {"reasks", "inferred", "ties"}:
            raise ValueError(f"'{min(unknown)}' is none of reasks, inferred, ties")
        return words
