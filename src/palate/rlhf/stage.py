"""`palate ppo` from a config and a reward to a run folder, for every online method.

Refuses options without effect, a reward model that reads other tokens than the policy, and to
continue a run under another model, reward, file or option.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from palate.config import PpoConfig
from palate.data.rewards import Reward
from palate.data.rows import Example, Item
from palate.data.rows import Sequence as Tokens
from palate.data.sources import parse_map
from palate.data.sources import read_prompts as read_file
from palate.data.split import halves, prompt_key, split
from palate.engine.adapters import save_final, trainable
from palate.engine.model import Loaded
from palate.engine.policy import Policy
from palate.engine.sample import SampleSettings
from palate.errors import DataError, UsageError
from palate.rlhf.critic import Critic
from palate.rlhf.heldout import Heldout
from palate.rlhf.judged import Judged
from palate.rlhf.loop import Loop, Task
from palate.rlhf.methods import METHODS, Method
from palate.rlhf.ppo import Updater
from palate.rlhf.rollout import Prompt, read_prompts
from palate.runs import atomic
from palate.runs.folder import Run
from palate.runs.signals import stop_on_signals
from palate.train.defaults import HELDOUT_SHARE, Settings, reasons, settings, stage_of
from palate.train.events import Evaluation, Listener, Note
from palate.train.optimise import Optimiser
from palate.train.prepare import (
    MIN_HELDOUT_PROMPTS,
    Rows,
    load_for_training,
    renderer_for,
    use_threads,
)
from palate.train.record import (
    check_writable,
    frozen,
    parameters_of,
    policy_for,
    written,
)
from palate.train.stage import Finished, finished

TEXTS = 32  # a step's, by default: docs/defaults.md


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, checked: options, method with its numbers, reward."""

    config: PpoConfig
    method: Method
    knobs: Mapping[str, float]
    completions: int
    reward: Reward

    @classmethod
    def of(cls, config: PpoConfig, reward: Reward) -> "_Asked":
        """Raises UsageError for an option that does nothing."""
        method = METHODS[config.method]
        knobs = method.checked({"kl": config.kl, "beta": config.beta})
        if config.kl_target is not None and "kl" not in knobs:
            raise UsageError(
                f"--kl-target has no effect with --method {method.name}.", hint="Leave it out."
            )
        if config.kl_target is not None and knobs["kl"] == 0:
            raise UsageError(
                "--kl-target cannot move a price of 0: it is raised and lowered by a share.",
                hint="Leave --kl out.",
            )
        if isinstance(reward, Judged):
            _refuse_without_scores(config, method)
        if config.lora_dropout > 0:
            raise UsageError(
                "--lora-dropout cannot be used here: what is learnt is a ratio to the policy that"
                " drew, and with dropout that is never 1.",
                hint="Leave it out.",
            )
        for flag in ("max_length", "truncate", "drop_long"):
            if getattr(config, flag):
                raise UsageError(
                    f"--{flag.replace('_', '-')} has no effect here: texts are drawn, not read.",
                    hint="Use --max-new-tokens.",
                )
        return cls(config, method, knobs, method.drawn(config.n), reward)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What was read and loaded before the run folder is touched."""

    rows: Rows
    loaded: Loaded
    stop_ids: frozenset[int]
    train: tuple[Prompt, ...]
    heldout: tuple[Prompt, ...]
    threads: int

    @property
    def choosing(self) -> tuple[int, ...]:
        """Places of the held-out prompts by whose texts weights are chosen."""
        return tuple(n for n, p in enumerate(self.heldout) if p.origin in self.rows.choosing)


def run_online(config: PpoConfig, reward: Reward, listen: Listener) -> Finished:
    """Train `config.model` on its own texts after the prompts of `config.data`.

    The same command on the run continues it.  Raises any PalateError; nothing half-written stays
    behind.
    """
    asked = _Asked.of(config, reward)
    with stop_on_signals() as stop:
        opened = _open(asked, listen)
        record = written(config, opened.loaded) | _of_method(asked)
        record["rows"] = {"train": len(opened.train), "heldout": len(opened.heldout)}
        with Run.open(config.out, record, frozen=_frozen(asked, opened)) as run:
            if run.finished:
                listen(Note(f"{config.out} is finished: nothing to do"))
                return finished(run)
            task = _task(asked, opened, run, listen)
            loop = Loop(task, run, stop, listen)
            found = loop.train()
            _write_final(run, task, loop.best_step, found)
            return finished(run)


def _open(asked: _Asked, listen: Listener) -> _Opened:
    """Prompts first: a bad file costs a second and not a minute."""
    config = asked.config
    threads = use_threads(config.threads)
    check_writable(config.out)
    rows = _rows(config, listen, scored=not isinstance(asked.reward, Judged))
    loaded = load_for_training(config, listen)
    renderer = renderer_for(loaded, config)
    train, heldout = (
        read_prompts(part, renderer, loaded.context) for part in (rows.train, rows.heldout)
    )
    return _Opened(rows, loaded, renderer.stop_ids, train, heldout, threads)


def _frozen(asked: _Asked, opened: _Opened) -> dict[str, Any]:
    """What a resume must find unchanged."""
    kept = frozen(asked.config, opened.loaded, digest=opened.rows.digest, threads=opened.threads)
    return kept | {"reward_identity": asked.reward.identity}


def _task(asked: _Asked, opened: _Opened, run: Run, listen: Listener) -> Task:
    """The policy, its locked copy, and how it learns.

    The copy is taken before anything has moved, here and on a resume; what never moves is shared.
    """
    loaded, config = opened.loaded, asked.config
    twin = copy.deepcopy(loaded.model, _shared(loaded.model)).requires_grad_(False)
    policy = policy_for(config, run, loaded, _doubled(opened.train, loaded.context), listen)
    run.update(reference=loaded.identity)
    return Task(
        loaded=loaded,
        updater=_updater(asked, policy),
        reference=Policy(twin, policy.plan).eval(),
        reward=asked.reward,
        train=opened.train,
        heldout=Heldout(opened.heldout, opened.choosing),
        config=config,
        settings=_settings(asked, opened, listen),
        sampling=_sampling(asked, opened),
        knobs=asked.knobs,
        digest=opened.rows.digest,
    )


def _refuse_without_scores(config: PpoConfig, method: Method) -> None:
    """What a judge cannot do: it compares, and gives no single text a score."""
    if not method.by_verdict:
        raise UsageError(
            f"--judge-with has no effect with --method {method.name}, which reads scores.",
            hint="Use --method online_dpo, or --reward.",
        )
    if config.heldout is not None:
        raise UsageError(
            "--heldout has no effect with --judge-with: a single text gets no score.",
            hint="Leave it out; palate evaluate compares the finished run.",
        )


def _rows(config: PpoConfig, listen: Listener, *, scored: bool) -> Rows:
    """Prompts to train on and held out, split as every stage splits; none without scores."""
    train, digest = _read(config.data, config, listen)
    heldout: tuple[Example, ...] = ()
    few = len({prompt_key(row) for row in train}) < MIN_HELDOUT_PROMPTS
    if config.heldout is not None:
        heldout, more = _read(config.heldout, config, listen)
        digest = f"{digest}+{more}"
    elif not scored:
        listen(Note("a judge scores no single text: nothing is held out, the last step is kept"))
    elif few:
        listen(Note(f"{len(train)} prompts are too few to hold any out: the last step is kept"))
    else:
        train, heldout = split(train, share=HELDOUT_SHARE, seed=config.seed)
        listen(Note(f"{len(train)} prompts to draw texts for, {len(heldout)} held out"))
    choosing, _ = halves(heldout, seed=config.seed)
    return Rows(train, heldout, digest, frozenset(row.origin for row in choosing))


def _read(source: str, config: PpoConfig, listen: Listener) -> tuple[tuple[Example, ...], str]:
    """The rows that have a prompt, and the digest of the file.  Raises DataError for none."""
    found = read_file(source, mapping=parse_map(config.map), format=config.format)
    for note in found.notes:
        listen(Note(note))
    rows = tuple(row for row in found.rows if row.prompt is not None)
    if not rows:
        raise DataError(f"{source} holds no prompt.", hint="Give a file with a field 'prompt'.")
    return rows, found.digest


def _shared(model: nn.Module) -> dict[int, Any]:
    """What a copy need not copy: weights that never move."""
    return {id(p): p for p in model.parameters() if not p.requires_grad}


def _doubled(prompts: Sequence[Prompt], context: int) -> list[Item]:
    """What the fast path is checked on: each prompt after itself."""
    found = []
    for prompt in prompts:
        ids = (prompt.ids + prompt.ids)[:context]
        tokens = Tokens(ids, ((len(prompt.ids), len(ids)),), len(prompt.ids))
        found.append(Item((tokens,), prompt.group, prompt.origin))
    return found


def _updater(asked: _Asked, policy: Policy) -> Updater:
    config = asked.config
    optimiser = Optimiser(
        trainable(policy.model), weight_decay=config.weight_decay, clip=config.clip
    )
    critic = None
    if asked.method.values:
        width = policy.core.get_output_embeddings().weight.shape[1]
        dtype = next(policy.model.parameters()).dtype
        critic = Critic(width, device=policy.device, dtype=dtype)
    return Updater(policy, asked.method, optimiser, critic=critic)


def _settings(asked: _Asked, opened: _Opened, listen: Listener) -> Settings:
    """As many texts a step, and steps, whatever the number of prompts and of texts for each."""
    config, prompts = asked.config, len(opened.train)
    batch_size = config.batch_size or min(max(1, TEXTS // asked.completions), prompts)
    epochs = config.epochs or stage_of(config).steps * batch_size / prompts
    size = parameters_of(opened.loaded)
    decided = config.model_copy(update={"batch_size": batch_size, "epochs": epochs})
    found = settings(decided, parameters=size, rows=prompts, device=opened.loaded.device.type)
    for line in reasons(decided, found, parameters=size, rows=prompts):
        listen(Note(line))
    texts = batch_size * asked.completions
    listen(Note(f"{found.steps} steps of {texts} texts, {asked.completions} for each prompt"))
    return found


def _sampling(asked: _Asked, opened: _Opened) -> SampleSettings:
    """One limit for all texts: what was asked, or what the longest prompt leaves room for."""
    longest = max(len(prompt.ids) for prompt in opened.train + opened.heldout)
    return SampleSettings(
        max_new_tokens=min(asked.config.max_new_tokens, opened.loaded.context - longest),
        completions=asked.completions,
        temperature=1.0,
        stop_ids=tuple(sorted(opened.stop_ids)),
    )


def _of_method(asked: _Asked) -> dict[str, Any]:
    """What run.json says of the method and of what paid."""
    reward = asked.reward
    return {
        "objective": {"name": asked.method.name, "options": dict(asked.knobs)},
        "paper": asked.method.paper,
        "completions": asked.completions,
        "reward": {"name": reward.name, "kind": reward.kind, "identity": reward.identity},
        "overridden": [],
    }


def _write_final(run: Run, task: Task, best_step: int, found: Evaluation | None) -> None:
    """Commit `final/` whole, then say in run.json that the run is finished."""
    task.policy.restore()
    note = {"step": best_step, "stage": run.record["stage"]}
    atomic.commit_folder(
        run.path / "final", lambda temp: save_final(task.loaded, temp), replace=True, note=note
    )
    fields = None if found is None else asdict(found)
    run.update(finished=True, best_step=best_step, evaluation=fields)
