"""One frozen model per command: the flags, the TOML file, and what the run writes down.

The only place where a default is written.  `None` means "derived from model and data when the run
starts"; `train/defaults.py` derives it and says why.  Each field says what a resume may do with it:
`frozen` (a change is refused), `free` (a change is harmless).
"""

from palate.config.asking import (
    BestOfNOptions,
    DoctorOptions,
    EvaluateOptions,
    ExplainOptions,
    ReportOptions,
    SampleConfig,
)
from palate.config.base import (
    NAMED_OPTIONS,
    Model,
    comma_separated,
    complaint,
    free,
    frozen,
    named_once,
    parted,
    resume_rule,
)
from palate.config.judging import (
    JudgeOptions,
    PickOptions,
    TeachOptions,
)
from palate.config.rows import (
    DrawOptions,
    PromptOptions,
    RowOptions,
)
from palate.config.training import (
    DpoConfig,
    Dtype,
    PpoConfig,
    RewardConfig,
    Schedule,
    SftConfig,
    TrainConfig,
)

__all__ = [
    "NAMED_OPTIONS",
    "BestOfNOptions",
    "DoctorOptions",
    "DpoConfig",
    "DrawOptions",
    "Dtype",
    "EvaluateOptions",
    "ExplainOptions",
    "JudgeOptions",
    "Model",
    "PickOptions",
    "PpoConfig",
    "PromptOptions",
    "ReportOptions",
    "RewardConfig",
    "RowOptions",
    "SampleConfig",
    "Schedule",
    "SftConfig",
    "TeachOptions",
    "TrainConfig",
    "comma_separated",
    "complaint",
    "free",
    "frozen",
    "named_once",
    "parted",
    "resume_rule",
]
