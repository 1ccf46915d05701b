"""The Python names: what the command line does, with typed results and no printing.

from palate import api
from palate.config import DpoConfig, EvaluateOptions, SftConfig

api.sft(SftConfig(model="base", data="examples.jsonl", out="runs/sft"))
api.dpo(DpoConfig(model="runs/sft", data="pairs.jsonl", out="runs/dpo"))

found = api.evaluate(["runs/dpo"], EvaluateOptions(), api.Means(reward=mine)).record
api.write_report("runs/dpo", Path("report.html"))

with api.Store.open(Path("taste.db")) as store:  # judgements, without the page
    api.add_file(store, "drawn.jsonl")
    api.write_export(store, Path("pairs.jsonl"))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palate.config import (
    DoctorOptions,
    DpoConfig,
    EvaluateOptions,
    ExplainOptions,
    PpoConfig,
    RewardConfig,
    RowOptions,
    SampleConfig,
    SftConfig,
    TrainConfig,
)
from palate.data.forms import Kind
from palate.data.rewards import Answered, Reward
from palate.data.rows import Origin, Pair
from palate.errors import UsageError
from palate.evaluation.evaluate import Done as Evaluation
from palate.evaluation.evaluate import evaluate as evaluated
from palate.evaluation.judging import Means
from palate.export.merge import BUILT_IN, Parity
from palate.export.merge import export as merge
from palate.glossary import GLOSSARY
from palate.judge.arrivals import Added, add_file
from palate.judge.departures import Exported, write_export
from palate.judge.store import Store
from palate.judge.verdicts import Judge, run_judge
from palate.objectives import Objective, build
from palate.rlhf.reward import open_reward
from palate.rlhf.reward_stage import RewardRun, train_reward
from palate.rlhf.stage import run_online
from palate.study import doctor as examination
from palate.study import sampling
from palate.study import score as scores
from palate.study.checks.base import Check, Finding
from palate.study.checks.table import CHECKS
from palate.study.doctor import Report
from palate.study.microscope import look
from palate.study.score import ScoredRow
from palate.study.seen import Seen
from palate.study.source import own_data, own_prompts
from palate.study.talk import Chat
from palate.teach.loop import Taught, teach
from palate.train.events import Listener, Note, silent
from palate.train.stage import READ_AS, Finished, run_stage

__all__ = [
    "Added",
    "Answered",
    "Chat",
    "Check",
    "Evaluation",
    "Exported",
    "Finding",
    "Finished",
    "Judge",
    "Means",
    "Parity",
    "Report",
    "Reward",
    "RewardRun",
    "ScoredRow",
    "Seen",
    "Store",
    "Taught",
    "add_file",
    "doctor",
    "dpo",
    "evaluate",
    "explain",
    "export",
    "open_reward",
    "ppo",
    "reward",
    "run_judge",
    "sample",
    "score",
    "sft",
    "teach",
    "write_doctor_page",
    "write_export",
    "write_page",
    "write_report",
]


def sft(config: SftConfig, listen: Listener = silent) -> Finished:
    """Imitate the completions.  Raises PalateError."""
    return _run(config, build(config.objective, **config.objective_options), listen)


def dpo(config: DpoConfig, listen: Listener = silent) -> Finished:
    """Prefer chosen over rejected, against the model as it is.  Raises PalateError."""
    objective = build(config.objective, **config.objective_options)
    if objective.items in ("row", "weighted"):
        raise UsageError(
            f"the objective {objective.name} learns from single rows.",
            hint=f"Use palate sft --objective {objective.name}.",
        )
    return _run(config, objective, listen)


def _run(config: TrainConfig, objective: Objective, listen: Listener) -> Finished:
    """The stage, after one line of what its data looks like."""
    found = _glance(config, READ_AS[objective.items], listen)
    return run_stage(config, objective, listen, overridden=found)


def reward(config: RewardConfig, listen: Listener = silent) -> RewardRun:
    """A reward model from pairs, with what held-out ones say of it.  Raises PalateError."""
    return train_reward(config, listen, overridden=_glance(config, "pairs", listen))


def _glance(config: TrainConfig, kind: Kind, listen: Listener) -> tuple[str, ...]:
    """One line of the doctor; what it found wrong and training goes on in spite of."""
    seen = examination.glance(config, kind)
    if seen is None:
        return ()
    listen(seen.note)
    return seen.overridden


def ppo(config: PpoConfig, reward: Reward, listen: Listener = silent) -> Finished:
    """Learn from texts that the policy draws and `reward` scores.  Raises PalateError.

    `config.reward` and `judge_with` are words of the command line, and not read here.
    """
    return run_online(config, reward, listen)


def evaluate(
    runs: Sequence[str],
    options: EvaluateOptions | None = None,
    means: Means | None = None,
    listen: Listener = silent,
) -> Evaluation:
    """Did a run (or the best of several) learn the taste?  Also written to RUN/evaluation.json.

    `means`: the judge or reward that compares texts; without one only pairs are ranked.  Raises
    PalateError.
    """
    return evaluated(runs, options or EvaluateOptions(), means or Means(), listen)


def write_report(run: str | Path, out: Path) -> str:
    """One self-contained HTML page of what was found of a run, whole or not at all; its headline.

    Raises UsageError if it was not evaluated.
    """
    from palate.report.lineage import lineage
    from palate.report.page import save
    from palate.report.proof import page, recorded

    record = recorded(Path(run))
    save(page(record, lineage(Path(run))), out, "--out")
    return record.headline


def doctor(
    data: str,
    options: DoctorOptions | None = None,
    listen: Listener = silent,
    *,
    checks: Sequence[Check] = CHECKS,
) -> Report:
    """Is this preference data worth training on?  `checks` may hold your own.

    Faulty rows are a finding.  Raises PalateError if there is no sound row, or no such model.
    """
    return examination.doctor(data, options, listen, checks=checks)


def score(
    model: str, data: str, options: RowOptions | None = None, listen: Listener = silent
) -> tuple[ScoredRow, ...]:
    """Log-probs of every row of a file, and margins against a DPO run's reference."""
    return scores.score(model, data, options or RowOptions(), listen)


def sample(
    model: str,
    prompts: str,
    config: SampleConfig | None = None,
    listen: Listener = silent,
    *,
    out: Path | None = None,
) -> tuple[dict[str, Any], ...]:
    """Completions for every prompt of a file, one record each; with `out` also there, as they come.

    A file `out` that the same call began is gone on with.  Raises PalateError.
    """
    return sampling.sample(model, prompts, config or SampleConfig(), listen, out=out)


def explain(
    model: str,
    source: str | tuple[str, str, str] | None,
    options: ExplainOptions | None = None,
    listen: Listener = silent,
    *,
    over_time: bool = False,
) -> Seen:
    """What a file teaches a model, token by token.  Raises PalateError.

    `source`: a file, or prompt, chosen and rejected; None is what the run was trained on.
    """
    rows = source if isinstance(source, str) else None
    if isinstance(source, tuple):
        origin = Origin("typed in", 1)
        return look(model, [Pair(*source, origin)], options or ExplainOptions(), listen)
    if rows is None:
        rows = own_data(model)
    return look(model, rows, options or ExplainOptions(), listen, over_time=over_time)


def write_page(seen: Seen, out: Path) -> None:
    """One self-contained HTML page of what was seen, whole or not at all."""
    from palate.report.explain import page
    from palate.report.page import save

    save(page(seen, words=GLOSSARY), out)


def write_doctor_page(report: Report, out: Path) -> None:
    """One self-contained HTML page of what the doctor found, whole or not at all."""
    from palate.report.doctor import page
    from palate.report.page import save

    save(page(report), out)


def export(model: str, out: Path, listen: Listener = silent) -> Parity:
    """A merged Hugging Face folder, read back and compared with the run before it counts."""
    parity = merge(model, out, prompts=(*own_prompts(model), *BUILT_IN))
    listen(
        Note(
            f"read back and compared on {parity.prompts} texts: same token ids, log-probs within "
            f"{parity.max_logp_diff:.1e} nats per token "
            f"(the adapter changes them by up to {parity.effect:.2g})"
        )
    )
    return parity
