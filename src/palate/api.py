"""The Python names: what the command line does, with typed results and no printing.

from palate import api
from palate.config import DpoConfig, SftConfig

api.sft(SftConfig(model="base", data="examples.jsonl", out="runs/sft"))
api.dpo(DpoConfig(model="runs/sft", data="pairs.jsonl", out="runs/dpo"))
"""

from pathlib import Path
from typing import Any

from palate.config import DpoConfig, RowOptions, SampleConfig, SftConfig
from palate.export.merge import BUILT_IN, Parity
from palate.export.merge import export as merge
from palate.objectives import build
from palate.study import score as scores
from palate.study import talk
from palate.study.score import ScoredRow
from palate.study.source import own_prompts
from palate.study.talk import Chat
from palate.train.events import Listener, Note, silent
from palate.train.stage import Finished, run_stage

__all__ = ["Chat", "Finished", "Parity", "ScoredRow", "dpo", "export", "sample", "score", "sft"]


def sft(config: SftConfig, listen: Listener = silent) -> Finished:
    """Imitate the completions.  Raises PalateError."""
    return run_stage(config, build("sft", mean=config.mean), listen)


def dpo(config: DpoConfig, listen: Listener = silent) -> Finished:
    """Prefer chosen over rejected, against the model as it is.  Raises PalateError."""
    objective = build("dpo", beta=config.beta, label_smoothing=config.label_smoothing)
    return run_stage(config, objective, listen)


def score(
    model: str, data: str, options: RowOptions | None = None, listen: Listener = silent
) -> tuple[ScoredRow, ...]:
    """Log-probs of every row of a file, and margins against a DPO run's reference."""
    return scores.score(model, data, options or RowOptions(), listen)


def sample(
    model: str, prompts: str, config: SampleConfig | None = None, listen: Listener = silent
) -> tuple[dict[str, Any], ...]:
    """Completions for every prompt of a file, one record each."""
    return talk.sample(model, prompts, config or SampleConfig(), listen)


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
