"""The command line over a fake `palate.api`: flags, exit codes, what is shown and where."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

import palate
from palate import cli
from palate.cli import chat, failure, show, words
from palate.cli.show import Bars, Lines
from palate.config import DpoConfig, RowOptions, SampleConfig, SftConfig
from palate.config_file import load
from palate.data.rows import Message
from palate.errors import (
    CheckpointError,
    DataError,
    DiskError,
    Interrupted,
    MemoryLimitError,
    ModelError,
    NumericsError,
    PalateError,
    Problem,
    UsageError,
)
from palate.stats import share
from palate.train.events import Evaluation, Listener, Note, Regimes, Step, Working

NEEDED = ["--model", "m", "--data", "d.jsonl", "--out", "runs/x"]
HELD_OUT = Evaluation(4, 0.61, 32, True, share(24, 32), 0.42, 0.3, -1.2)


class FakeApi:
    """Records its calls; `fails` is raised by the next one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fails: BaseException | None = None
        self.rows: list[dict[str, Any]] = []
        self.best_step = 4

    def _stage(self, name: str, config: Any, listen: Listener) -> SimpleNamespace:
        self.calls.append((name, config))
        listen(Note("float32: no GPU here"))
        listen(Note("float32: no GPU here"))
        if self.fails is not None:
            raise self.fails
        return SimpleNamespace(
            path=config.out,
            final=config.out / "final",
            best_step=self.best_step,
            evaluation=HELD_OUT,
        )

    def sft(self, config: SftConfig, listen: Listener) -> SimpleNamespace:
        return self._stage("sft", config, listen)

    def dpo(self, config: DpoConfig, listen: Listener) -> SimpleNamespace:
        return self._stage("dpo", config, listen)

    def score(
        self, model: str, data: str, options: RowOptions, listen: Listener
    ) -> tuple[SimpleNamespace, ...]:
        self.calls.append(("score", (model, data, options)))
        listen(Note("a note"))
        return tuple(SimpleNamespace(as_json=lambda row=row: row) for row in self.rows)

    def sample(
        self, model: str, prompts: str, config: SampleConfig, listen: Listener, *, out: Path | None
    ) -> tuple[dict[str, Any], ...]:
        self.calls.append(("sample", (model, prompts, config, out)))
        listen(Note("a note"))
        return tuple(self.rows)

    def export(self, model: str, out: Path, listen: Listener) -> SimpleNamespace:
        self.calls.append(("export", (model, out)))
        return SimpleNamespace(max_logp_diff=1.2e-6)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """`palate.api` replaced for the length of a test; torch is never imported."""
    fake = FakeApi()
    module = ModuleType("palate.api")
    for name in ("sft", "dpo", "score", "sample", "export"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "palate.api", module)
    monkeypatch.setattr(palate, "api", module, raising=False)
    return fake


def failed(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The message of a command that ends with `code` and prints nothing on stdout."""
    assert cli.run(words) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


# ---- flags


def test_flags_become_the_config(api: FakeApi) -> None:
    words = ["--lr", "1e-3", "--full", "--map", "prompt=mr,completion=human", "--map", "text=t"]
    assert cli.run(["sft", *NEEDED, *words, "--targets", "q_proj,v_proj", "--mean=sequence"]) == 0
    (name, config) = api.calls[0]
    assert name == "sft"
    assert config == SftConfig(
        model="m",
        data="d.jsonl",
        out=Path("runs/x"),
        lr=1e-3,
        full=True,
        map=("prompt=mr", "completion=human", "text=t"),
        targets=("q_proj", "v_proj"),
        mean="sequence",
    )


def test_only_what_was_typed_is_set(api: FakeApi) -> None:
    cli.run(["dpo", *NEEDED, "--beta", "0.2"])
    assert api.calls[0][1].model_fields_set == {"model", "data", "out", "beta"}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["sft", "--modl", "m"], "Unknown option: --modl. Did you mean --model?"),
        (["sft", "--model", "m"], "--data is needed. --out is needed."),
        (["sft", *NEEDED, "--epoch", "3"], "Did you mean --epochs?"),
        (["sft", *NEEDED, "--no-full"], "Unknown option: --no-full."),
        (["sft", *NEEDED, "--beta", "1"], "Unknown option: --beta."),
        (["sft", *NEEDED, "--lr"], "--lr needs a value."),
        (["sft", *NEEDED, "stray"], "Unexpected: stray."),
        (["sft", *NEEDED, "--lr", "nan"], "--lr nan:"),
        (["sft", *NEEDED, "--epochs", "inf"], "--epochs inf: should be a finite number."),
        (["sft", *NEEDED, "--dtype", "bf16"], "'float32', 'bfloat16' or 'float64'"),
        (["dpo", *NEEDED, "--label-smoothing", "0.5"], "--label-smoothing 0.5: should be less"),
        (["score", "m"], "DATA is needed."),
        (["stf"], 'Did you mean "sft"?'),
    ],
)
def test_wrong_words_are_named(
    typed: list[str], told: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failed(typed, capsys)
    assert told in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert "--help`" in message
    assert not api.calls


def test_all_invalid_values_are_named_at_once(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failed(["sft", *NEEDED, "--lr", "-1", "--batch-size", "x"], capsys)
    assert "--batch-size x: should be a valid integer" in message
    assert "--lr -1: should be greater than 0." in message


# ---- errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (DataError("x"), 2),
        (ModelError("x"), 2),
        (CheckpointError("x"), 3),
        (NumericsError("x"), 4),
        (DiskError("x"), 5),
        (OSError(errno.ENOSPC, "No space left on device", "w.safetensors"), 5),
        (MemoryLimitError("x"), 6),
        (MemoryError(), 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 99 bytes"), 6),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 6),
        (Interrupted("stopped after step 3", exit_code=143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fails = error
    assert cli.run(["sft", *NEEDED]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_an_error_is_its_message_and_its_hint(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fails = CheckpointError("beta: 0.1 -> 0.2.", hint="Use another --out.")
    cli.run(["dpo", *NEEDED])
    assert capsys.readouterr().err == "error: beta: 0.1 -> 0.2. Use another --out.\n"


def test_every_data_problem_is_shown(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.fails = DataError([Problem("f", n, "chosen", "is empty.", "Fill it.") for n in (3, 9)])
    cli.run(["dpo", *NEEDED])
    told = capsys.readouterr().err
    assert "f:3 field 'chosen'" in told
    assert "f:9 field 'chosen'" in told


def test_a_bug_keeps_its_traceback(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.fails = ZeroDivisionError("oh")
    assert cli.run(["sft", *NEEDED]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "please report it" in told


def test_an_error_cannot_command_the_terminal(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fails = DataError("row \x1b[2J\x9b wiped")
    cli.run(["sft", *NEEDED])
    assert capsys.readouterr().err == "error: row [2J wiped\n"


def test_a_closed_pipe_is_no_bug() -> None:
    script = (
        "import palate.cli as c; from palate.cli.failure import guarded\n"
        "def work():\n  for _ in range(100000): print('x' * 100)\n  return 0\n"
        "raise SystemExit(guarded(work))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 141


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shape"), OSError(errno.EIO, "x")])
def test_what_is_not_understood_is_a_bug(error: Exception) -> None:
    assert failure.understood(error) is None


def test_every_error_class_has_its_code() -> None:
    classes = PalateError.__subclasses__()
    assert {kind.__name__: kind.exit_code for kind in classes} == {
        "UsageError": 2,
        "DataError": 2,
        "ModelError": 2,
        "CheckpointError": 3,
        "StoreError": 3,
        "NumericsError": 4,
        "DiskError": 5,
        "MemoryLimitError": 6,
        "Interrupted": 2,  # each one carries its own, 130 or 143
    }


# ---- what is shown


def step(number: int, total: int = 100) -> Step:
    return Step(
        number, total, 0.6931, 1e-4, 1.0, 18.23, 130.0, margin=-0.0123, regimes=Regimes(12, 3, 1)
    )


def test_step_and_evaluation_lines() -> None:
    assert words.step_line(step(7)) == (
        "step 7/100  loss 0.693  margin −0.0123  learnt 12 · undecided 3 · wrong 1  "
        "18.2 pairs/s  2 min 10 s left"
    )
    plain = Step(1, 2, 2.5, 1e-4, 1.0, 5.0, 3.0)
    assert words.step_line(plain) == "step 1/2  loss 2.50  5.00 rows/s  3 s left"
    assert words.evaluation_line(HELD_OUT) == (
        "held out, step 4: loss 0.610 on 32 pairs  accuracy 75% [58%, 87%]  margin +0.420  "
        "chosen +0.300 nats  rejected −1.20 nats  (best so far)"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (-1.5, "−1.50"),
        (123.4, "123"),
        (13449.0, "13,400"),
        (0.00123, "0.00123"),
        (float("nan"), "nan"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert words.figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (61, "1 min 01 s"), (7500, "2 h 05 min"), (float("inf"), "0 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def piped(events: list[Any], seconds_each: float) -> list[str]:
    """The plain lines for `events` that come `seconds_each` apart."""
    now = [0.0]
    lines: list[str] = []

    def clock() -> float:
        return now[0]

    listen = Lines(lines.append, clock)
    for event in events:
        listen(event)
        now[0] += seconds_each
    return lines


def test_a_pipe_gets_few_lines() -> None:
    steps = [step(n, 1000) for n in range(1, 1001)]
    assert [line.split()[1] for line in piped(steps, 0.001)] == ["1/1000", "1000/1000"]
    assert 15 <= len(piped(steps, 1.0)) <= 22
    assert len(piped(steps, 60.0)) == 1000
    assert len(piped([step(n, 20) for n in range(1, 21)], 10.0)) == 20


def test_short_work_is_not_worth_a_line_and_long_work_is() -> None:
    work = [Working("rendering", n, 100) for n in range(1, 101)]
    assert piped(work, 0.01) == []
    assert piped(work, 1.0)[-1] == "rendering 100/100"


def test_an_evaluation_between_steps_does_not_reset_the_pace() -> None:
    events = [e for n in range(1, 50) for e in (step(n), Working("held out", 1, 1))]
    assert len(piped(events, 0.01)) == 1


def test_a_note_is_said_once() -> None:
    assert piped([Note("a"), Note("a"), Note("b", warning=True)], 0.0) == ["a", "warning: b"]


def test_a_terminal_gets_a_bar_and_lines_that_stay() -> None:
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=True, width=80, soft_wrap=True, highlight=False, markup=False
    )
    bars = Bars(console)
    with bars.live:
        bars(Note("said once"))
        bars(Note("said once"))
        bars(Working("reference pass", 5, 10))
        bars.live.refresh()
        for number in range(1, 11):
            bars(step(number, 10))
        bars.live.refresh()
        bars(HELD_OUT)
    shown = screen.getvalue()
    assert shown.count("said once") == 1
    assert "reference pass" in shown
    assert "10/10" in shown
    assert "undecided 3" in shown
    assert "held out, step 4" in shown


def test_a_pipe_gets_plain_text(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["dpo", *NEEDED])
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert told.count("float32: no GPU here") == 1


def test_shown_is_plain_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with show.shown(stderr=True) as listen:
        assert isinstance(listen, Lines)
        listen(Note("[red]not markup[/red]"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "[red]not markup[/red]\n"


# ---- what comes next


def test_each_stage_ends_with_the_next_command(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run(["sft", "--model", "m", "--data", "d", "--out", "runs/my sft"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "next: palate dpo --model 'runs/my sft' --data pairs.jsonl --out 'runs/my sft-dpo'"
    )
    cli.run(["dpo", *NEEDED])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "next: palate score runs/x d.jsonl",
        "      palate chat runs/x",
    ]
    cli.run(["export", "runs/x", "--out", "merged"])
    assert capsys.readouterr().out.splitlines()[-1] == "next: palate chat merged"


def test_a_stage_that_taught_nothing_says_so(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run(["dpo", *NEEDED])
    assert "warning" not in capsys.readouterr().out
    api.best_step = 0
    cli.run(["dpo", *NEEDED])
    assert "warning: held-out loss was lowest before the first step" in capsys.readouterr().out


# ---- palate.toml

RECIPE = """
[model]
model = "base"
out = "runs/x"
seed = 3

[sft]
data = "examples.jsonl"
map = "prompt=mr"

[dpo]
data = "pairs.jsonl"
label-smoothing = 0.1
seed = 4
"""


def recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "palate.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_both_stages(
    tmp_path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["run", str(recipe(tmp_path))]) == 0
    assert [name for name, _ in api.calls] == ["sft", "dpo"]
    sft, dpo = (config for _, config in api.calls)
    assert (sft.model, sft.out, sft.seed, sft.map) == (
        "base",
        Path("runs/x/sft"),
        3,
        ("prompt=mr",),
    )
    assert (dpo.model, dpo.out, dpo.seed) == ("runs/x/sft", Path("runs/x/dpo"), 4)
    assert dpo.label_smoothing == 0.1
    assert "next: palate score runs/x/dpo pairs.jsonl" in capsys.readouterr().out


def test_a_recipe_may_name_one_stage(tmp_path: Path) -> None:
    stages = load(recipe(tmp_path, '[dpo]\nmodel = "m"\ndata = "d"\nout = "o"\n'))
    assert stages.sft is None
    assert stages.dpo == DpoConfig(model="m", data="d", out=Path("o"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("seed = 3", "sed = 3"), ":5: unknown key 'sed' in [model]. Did you mean 'seed'?"),
        (("[dpo]", "[dop]"), ":11: unknown table [dop]. Did you mean 'dpo'?"),
        (("seed = 3", "beta = 3"), ":5: unknown key 'beta' in [model]."),
        (("map =", "beta ="), ":9: unknown key 'beta' in [sft]. "),
        (("seed = 3", "seed = -3"), ":5: seed = -3: should be greater than or equal to 0."),
        (("= 0.1", "= 0.9"), ":13: label_smoothing = 0.9: should be less than 0.5."),
        (('data = "pairs.jsonl"', ""), ":11: [dpo] needs data = ..."),
        (('model = "base"', ""), ":7: [sft] needs model = ..."),
        (("[model]", "[model"), "is not TOML"),
        (("[sft]", "sft = 3\n[x]"), "palate.toml:"),
    ],
)
def test_a_wrong_recipe_names_line_and_key(
    change: tuple[str, str],
    told: str,
    tmp_path: Path,
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = recipe(tmp_path, RECIPE.replace(*change))
    message = failed(["run", str(path)], capsys)
    assert told in message
    assert not api.calls


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    text = RECIPE.replace("seed", "sede").replace("map =", "mpa =")
    with pytest.raises(UsageError) as caught:
        load(recipe(tmp_path, text))
    assert str(caught.value).count("unknown key") == 3


def test_a_recipe_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.toml does not exist" in failed(["run", "nowhere.toml"], capsys)


def test_a_recipe_without_a_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither \[sft\] nor \[dpo\]"):
        load(recipe(tmp_path, '[model]\nmodel = "m"\n'))


# ---- score and sample


def pair_row(line: int, chosen: float, rejected: float, **more: Any) -> dict[str, Any]:
    return {
        "line": line,
        "chosen_logp": chosen,
        "rejected_logp": rejected,
        "chosen_tokens": 9,
        "rejected_tokens": 7,
        **more,
    }


def test_score_json_is_nothing_but_rows(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.rows = [pair_row(1, -2.0, -3.0), pair_row(2, -12.5, -3.0)]
    assert cli.run(["score", "m", "d.jsonl", "--json", "--plain"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == api.rows
    assert said.err == "a note\n"
    assert api.calls[0][1] == ("m", "d.jsonl", RowOptions(plain=True))


def test_score_says_the_verdict_first(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.rows = [pair_row(1, -2.0, -3.0), pair_row(22, -12.5, -3.0), pair_row(3, -1.0, -1.0)]
    cli.run(["score", "m", "d.jsonl"])
    assert capsys.readouterr().out.splitlines() == [
        "the chosen answer is the likelier one in 50% [13%, 87%] of 3 pairs, ties counted half",
        "",
        "line  chosen  rejected  tokens  tokens",
        "   1   −2.00     −3.00       9       7",
        "  22   −12.5     −3.00       9       7",
        "   3   −1.00     −1.00       9       7",
    ]


def test_score_with_a_reference_and_of_examples(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"ref_chosen_logp": -2.5, "ref_rejected_logp": -2.5, "margin": 0.1}
    api.rows = [pair_row(1, -2.0, -3.0, **more)]
    cli.run(["score", "m", "d"])
    assert (
        "the margin favours the chosen answer in 100% [21%, 100%] of 1 pairs"
        in capsys.readouterr().out
    )
    api.rows = [{"line": 1, "logp": -10.0, "tokens": 4}, {"line": 2, "logp": -2.0, "tokens": 2}]
    cli.run(["score", "m", "d"])
    assert "2 rows: −2.00 nats per token over 6 tokens" in capsys.readouterr().out


COUNTED = {"n": 2, "drawn": 3, "tokens": 4}
SAMPLES = [
    {"line": 1, "prompt": "a", "index": 0, "completion": "one\x1b[2J", "kept": 2} | COUNTED,
    {"line": 1, "prompt": "a", "index": 1, "completion": "two", "kept": 2} | COUNTED,
    {"line": 2, "prompt": [{"role": "user", "content": "b"}], "index": 0, "completion": "three"}
    | {"kept": 1}
    | COUNTED,
]


def test_sample_shows_each_prompt_once(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.rows = SAMPLES
    cli.run(["sample", "m", "p.jsonl", "--n", "2", "--seed", "5", "--top-p", "0.9"])
    assert capsys.readouterr().out.splitlines() == [
        "prompt: a",
        "  1. one[2J",
        "  2. two",
        "",
        "prompt: user: b",
        "  1. three",
    ]
    assert api.calls[0][1] == ("m", "p.jsonl", SampleConfig(n=2, seed=5, top_p=0.9), None)


def test_sample_ends_with_what_was_drawn_and_what_to_do(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.rows = SAMPLES
    out = tmp_path / "samples.jsonl"
    cli.run(["sample", "m", "p.jsonl", "--out", str(out), "--temperatures", "0.7,1.3"])
    assert api.calls[0][1][2:] == (SampleConfig(temperatures=(0.7, 1.3)), out)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"3 completions of 2 prompts in {out}, 4.0 tokens each,"
        " 2 near-identical or empty drawn again, 0 s",
        "warning: 1 prompt has fewer than 2 different texts;"
        " what was nearly the same, or empty, is left out",
        f"next: palate judge taste.db --add {out}",
    ]
    assert told.err == "a note\n"
    cli.run(["sample", "m", "p.jsonl", "--json"])
    told = capsys.readouterr()
    assert [json.loads(line) for line in told.out.splitlines()] == SAMPLES
    assert told.err.startswith("a note\n3 completions of 2 prompts, ")


# ---- chat


def echo(history: tuple[Message, ...]) -> str:
    return f"{len(history)}:{history[-1].content}"


def test_chat_keeps_the_conversation_where_there_is_a_template() -> None:
    typed = ["hello", "", " more ", "/new", "again", "/quit", "unheard"]
    assert list(chat.converse(typed, echo, keep=True)) == ["1:hello", "3:more", "1:again"]
    assert list(chat.converse(typed, echo, keep=False)) == ["1:hello", "1:more", "1:again"]


def test_chat_reads_stdin_to_its_end(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speaker = SimpleNamespace(keeps_history=True, reply=echo)
    monkeypatch.setattr(sys.modules["palate.api"], "Chat", lambda *asked: speaker, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nmore\n"))
    assert cli.run(["chat", "runs/x"]) == 0
    assert capsys.readouterr().out == "1:hello\n3:more\n"


def test_demo_is_run_into_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(out: Path, *, say: Any, seed: int, quick: bool) -> None:
        say(Text(f"[b] in {out}, {seed}, {quick}", style="bold"))

    monkeypatch.setattr("palate.demo.command.run", run)
    assert cli.run(["demo", "--out", "there", "--seed", "3"]) == 0
    assert capsys.readouterr().out == "[b] in there, 3, False\n"


# ---- help


def test_help_puts_what_is_needed_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sft", "--help"]) == 0
    told = capsys.readouterr().out
    options = [line.split()[0] for line in told.splitlines() if line.startswith("  --")]
    assert options[:3] == ["--model", "--data", "--out"]
    assert max(map(len, told.splitlines())) <= 100
    assert "│" not in told


def test_the_installed_command_runs() -> None:
    palate_command = Path(sys.executable).with_name("palate")
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [palate_command, "--version"], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == palate.__version__
