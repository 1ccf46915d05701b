"""The list of commands.  A command's module is imported when it is called, not before."""

import inspect
import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from palate import __version__
from palate.cli.layout import Layout

COMMANDS = {
    "sft": (
        "palate.cli.train:sft",
        """Imitate: train on prompts and completions.

        The same command on an existing run continues it. What is left out is derived from the
        model and the data, and printed with its reason.""",
    ),
    "dpo": (
        "palate.cli.train:dpo",
        """Prefer: train on pairs, chosen over rejected.

        The model, usually the run of palate sft, is also the reference, and the reference is
        locked. The same command on an existing run continues it.""",
    ),
    "reward": (
        "palate.cli.reward:reward",
        """The older way, first half: a reward model from pairs.

        A scalar head on the model, Bradley-Terry. final/ is what
        AutoModelForSequenceClassification loads. The same command continues.""",
    ),
    "ppo": (
        "palate.cli.ppo:ppo",
        """The older way, second half: texts are drawn, scored and reinforced.

        PPO, or with --method RLOO, GRPO or online DPO on the same rollouts. The same command
        continues.""",
    ),
    "best-of-n": (
        "palate.cli.best_of_n:best_of_n",
        """Draw n answers, keep the one with the highest reward.

        A baseline that is hard to beat; its file is also the data of rejection-sampling SFT.""",
    ),
    "run": (
        "palate.cli.train:run",
        """Both stages from one palate.toml.

        The keys of [sft] and [dpo] are the flags of those commands; [model] holds what they
        share. Without an out of its own a stage writes OUT/sft or OUT/dpo; without a model of
        its own DPO starts from the SFT run. The same command continues.""",
    ),
    "check": (
        "palate.cli.check:check",
        """Is this file sound? Every problem with file, line and field.

        No model is loaded.  Exit code 0: sound; 2: problems.""",
    ),
    "doctor": (
        "palate.cli.doctor:doctor",
        """Is this preference data worth training on?

        What was measured, against what, who says so, and the rows it means. Nothing is edited.
        Exit code 0: clean; 1: warnings; 2: errors.""",
    ),
    "convert": (
        "palate.cli.convert:convert",
        """Another tool's rows to palate's own.

        It says what it recognised, what it left out and why.""",
    ),
    "score": ("palate.cli.read:score", "Log-probs and margin of every row of a file."),
    "objectives": ("palate.cli.objectives:objectives", "What can be learnt, and when to use it."),
    "explain": (
        "palate.cli.explain:explain",
        """What each pair teaches: its weight, and the push on every token.

        A table, one pair in full (--pair), a page (--html) or JSON.""",
    ),
    "words": ("palate.cli.glossary:words", "What a word means here."),
    "sample": (
        "palate.cli.sample:sample",
        """Draw completions for a file of prompts, from a model or an endpoint.

        With --out the same command continues, and no text is drawn twice.""",
    ),
    "judge": (
        "palate.cli.judge:judge",
        """Say which of two answers is better, and why: a page on this machine.

        One key judges, saves and shows the next. --add brings samples or pairs in, --export
        writes the pairs; --judge-with asks a model or a program instead of you.""",
    ),
    "pick": (
        "palate.cli.pick:pick",
        """What should be judged next?

        The most informative pairs first, by the current policy; a random fifth stays aside
        for evaluation.""",
    ),
    "teach": (
        "palate.cli.teach:teach",
        """The loop: sample, judge, prefer, and sample again.

        Each round is a run. The same command continues.""",
    ),
    "taste": (
        "palate.cli.taste:taste",
        """Your taste so far, in words: reasons, examples, contradictions.

        A page (--html), a draft rubric, or a section of a model card.""",
    ),
    "chat": (
        "palate.cli.chat:chat",
        """Talk to a model, line by line.

        /new starts afresh, /quit or the end of input leaves.""",
    ),
    "export": (
        "palate.cli.export:export",
        """Write a merged Hugging Face folder.

        It is loaded again and compared with the run on real prompts; a folder that differs
        is not kept.""",
    ),
    "history": (
        "palate.cli.history:history",
        """Which pairs of a run ended ranked right, and where the push went.

        No model is loaded: it reads what palate dpo wrote down at each step.""",
    ),
    "diagnose": (
        "palate.cli.diagnose:diagnose",
        """What the curves of a run mean, in words.

        Reads what was written down, then looks once at the model it started from and at the
        final one, on held-out pairs and prompts.""",
    ),
    "evaluate": (
        "palate.cli.evaluate:evaluate",
        """Did it learn the taste? On held-out prompts and pairs, with intervals.

        Win rates blind and at equal length, what it cost, and the baselines that a small user
        should see first. Every look at the held-out set is counted.""",
    ),
    "report": (
        "palate.cli.report:report",
        """The whole story of a run as one HTML file.

        It shows what palate evaluate found, and draws nothing that is not in its --json.""",
    ),
    "demo": (
        "palate.cli.demo:demo",
        """See SFT, then DPO, teach a tiny model taste.

        The model describes properties from their facts. Minutes on two cores.""",
    ),
}
FIRST_LINES = """palate teaches a language model taste: first it imitates, then it prefers.

palate sft --model MODEL --data examples.jsonl --out runs/sft
palate dpo --model runs/sft --data pairs.jsonl --out runs/dpo"""


def _default_shown(value: object) -> str | None:
    """A default that says something; off, empty and derived go without saying."""
    return None if value is None or value is False or value == () else str(value)


app = App(
    name="palate",
    help=FIRST_LINES,
    version=__version__,
    help_format="plaintext",
    help_formatter=Layout(),
    group_parameters="Options",
    default_parameter=Parameter(negative=(), show_default=_default_shown),
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for place, (name, (path, summary)) in enumerate(COMMANDS.items()):
    app.command(path, name=name, help=inspect.cleandoc(summary), sort_key=place)


def usage(words: Sequence[str] | None = None) -> int:
    """Parse and run; a whole number that a command returns is the exit code, nothing is 0.

    Raises cyclopts.CycloptsError for words that make no command.
    """
    words = sys.argv[1:] if words is None else words
    done = app(list(words))
    return done if isinstance(done, int) else 0
