"""Rules about the repository itself: layers, one place per computation, flags, and the README."""

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from palate import cli, config, config_file
from palate.cli.app import COMMANDS
from palate.data import sources

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "palate"
MODULES = sorted(SOURCE.rglob("*.py"))

# From the top down; imports go down only, and rooms on one level do not know each other.
LAYERS = (
    {"cli"},
    {"demo"},
    {"api"},
    {"teach", "evaluation"},
    {"report", "judge", "export"},
    {"study", "rlhf"},
    {"train"},
    {"objectives", "engine"},
    {"runs", "data", "endpoint"},
    {"config", "stats", "glossary"},
    {"errors"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
SAME_ROOM = {"config_file": "config", "__main__": "cli"}

SHARED_FLAGS = """--map --format --join --plain --chat-template"""
ROW_FLAGS = f"{SHARED_FLAGS} --max-length --truncate --drop-long"
TRAIN_FLAGS = f"""{ROW_FLAGS} --model --data --out --heldout --epochs --max-steps --batch-size --lr
    --schedule --warmup --weight-decay --clip --seed --full --rank --alpha --targets --lora-dropout
    --dtype --token-budget --grad-checkpoint --threads --eval-every --final --save-every --keep"""
DRAW_FLAGS = "--temperature --top-p --max-new-tokens --seed"
FLAGS = {
    "sft": f"{TRAIN_FLAGS} --objective --mean",
    "dpo": f"""{TRAIN_FLAGS} --objective --beta --label-smoothing --sft-weight --option
    --random-labels""",
    "reward": f"{TRAIN_FLAGS} --margin --label-smoothing --centring",
    "ppo": f"""{TRAIN_FLAGS} --reward --method --judge-with --judge-model --insecure --n --kl
    --kl-target --beta --passes --max-new-tokens""",
    "best-of-n": f"{SHARED_FLAGS} {DRAW_FLAGS} --reward --out --n --json",
    "evaluate": f"""{DRAW_FLAGS} --against --prompts --pairs --store --ask --judge-with
    --judge-model --insecure --reward --rubric --control --examples --baselines --frontier --n
    --json""",
    "report": "--out",
    "run": "",
    "check": "--heldout --map --format --json",
    "convert": "--map --format --skip-bad --json",
    "doctor": f"{ROW_FLAGS} --model --heldout --samples --beta --html --json --baseline",
    "score": f"{ROW_FLAGS} --json",
    "explain": f"""{ROW_FLAGS} --objective --beta --option --reference --pair --detail
    --prompt --chosen --rejected --over-time --html --json""",
    "words": "",
    "objectives": "--json",
    "history": "--json --export --only --top",
    "diagnose": "--json --prompts",
    "sample": f"""{SHARED_FLAGS} {DRAW_FLAGS} --n --out --json --temperatures --top-ps
    --endpoint --insecure --vllm""",
    "judge": """--add --export --mode --judge --tags --why --goal --model --port --no-browser
    --split --include --judge-with --judge-model --rubric --n --insecure --map --format --json""",
    "pick": "--model --how --n --seed",
    "teach": f"""{SHARED_FLAGS} --out --rounds --judgements --n --judge-with --judge-model --pick
    --beta --lr --epochs --temperature --max-new-tokens --seed""",
    "taste": "--html --rubric --card --judge --json",
    "chat": DRAW_FLAGS,
    "export": "--out",
    "demo": "--out --seed --quick",
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """`src/palate/data/rows.py` -> `data/rows.py`."""
    return path.relative_to(SOURCE).as_posix()


def room_of(dotted: str) -> str | None:
    """`palate.data.rows` -> `data`; None for the package itself, which holds the version."""
    parts = dotted.split(".")
    room = parts[1] if len(parts) > 1 else None
    return SAME_ROOM.get(room, room) if room else None


def imported(path: Path) -> Iterator[str]:
    """Every module of palate that a file imports, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("palate"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "palate":
                yield from (f"palate.{name.name}" for name in node.names if name.name[0] != "_")
            elif node.module and node.module.startswith("palate."):
                yield node.module


def own_room(path: Path) -> str | None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return None if parts == ("__init__",) else room_of(".".join(("palate", *parts)))


def climbs(importer: str | None, target: str | None) -> bool:
    """Whether this import goes up, or sideways into another room."""
    if target is None or importer == target:
        return False
    return importer is None or LEVEL[target] <= LEVEL[importer]


# ---- layers


def test_every_room_has_a_level() -> None:
    rooms = {own_room(path) for path in MODULES} - {None}
    assert rooms <= LEVEL.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    wrong = [name for name in imported(path) if climbs(own_room(path), room_of(name))]
    assert not wrong, f"{name_of(path)} imports {wrong}"


@pytest.mark.parametrize(
    ("importer", "target", "wrong"),
    [
        ("objectives", "engine", True),
        ("engine", "objectives", True),
        ("data", "runs", True),
        ("errors", "config", True),
        ("train", "engine", False),
        ("cli", "demo", False),
        ("data", "data", False),
    ],
)
def test_the_rule_itself(importer: str, target: str, wrong: bool) -> None:
    assert climbs(importer, target) is wrong


# ---- what never imports torch

LIGHT = ["palate.glossary", "palate.study.seen", "palate.study.sentences", "palate.endpoint"]
LIGHT += ["palate.study.doctor", "palate.study.near_miss"]
LIGHT += [f"palate.study.{name}" for name in ("live", "remarks", "signs", "plausible", "tally")]
LIGHT += [f"palate.study.{name}" for name in ("orders", "beside", "taste", "rubric")]
LIGHT += ["palate.study.evaluated", "palate.runs.cost", "palate.stats"]
LIGHT += [f"palate.report.{path.stem}" for path in (SOURCE / "report").glob("*.py")]
LIGHT += [f"palate.judge.{path.stem}" for path in (SOURCE / "judge").glob("*.py")]
LIGHT += ["palate.config", "palate.config_file", "palate.runs.folder", "palate.cli"]
LIGHT += [f"palate.data.{path.stem}" for path in (SOURCE / "data").glob("*.py")]
LIGHT += [f"palate.data.dialects.{path.stem}" for path in (SOURCE / "data/dialects").glob("*.py")]
LIGHT += [f"palate.study.checks.{path.stem}" for path in (SOURCE / "study/checks").glob("*.py")]
LIGHT += [f"palate.cli.{path.stem}" for path in (SOURCE / "cli").glob("*.py")]
HEAVY = {"torch", "transformers", "tokenizers", "peft", "datasets", "pandas"}


def heavy_after(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter holds after `code`."""
    told = f"import sys\n{code}\nprint('|', *({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("|")[2].split())


def test_light_modules_import_nothing_heavy() -> None:
    assert heavy_after("".join(f"import {name}\n" for name in LIGHT)) == set()


def test_help_imports_nothing_heavy() -> None:
    assert heavy_after("from palate.cli import run\nassert run(['--help']) == 0") == set()
    assert heavy_after("from palate.cli import run\nassert run(['dpo', '--help']) == 0") == set()


def test_help_takes_half_a_second() -> None:
    command = [str(Path(sys.executable).with_name("palate")), "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


# ---- one place for each computation


def names_in(path: Path) -> set[str]:
    """Every name and attribute that the code of a file uses; comments and texts do not count."""
    nodes = list(ast.walk(tree(path)))
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    found |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return found | {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize("name", ["log_softmax", "cross_entropy", "apply_chat_template"])
def test_one_module_at_most(name: str) -> None:
    where = [name_of(path) for path in MODULES if name in names_in(path)]
    assert len(where) <= 1, f"{name} in {where}"


# ---- only the command line prints or exits

MAY_EXIT = {"runs/signals.py"}  # a second Ctrl-C ends the process at once
MAY_PRINT = {"demo/base.py"}  # a recipe with its own `python -m`


def calls(path: Path) -> set[str]:
    """What a file calls or raises, as written: `print`, `sys.exit`, `SystemExit`."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            found.add(ast.unparse(node.exc))
    return found


def is_cli(path: Path) -> bool:
    return name_of(path).startswith("cli/")


@pytest.mark.parametrize("path", [p for p in MODULES if not is_cli(p)], ids=name_of)
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    found = calls(path)
    exits = found & {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}
    assert not exits or name_of(path) in MAY_EXIT
    shows = found & {"print", "sys.stdout.write", "sys.stderr.write"}
    assert not shows or name_of(path) in MAY_PRINT


# ---- options

CONFIGS = [
    kind for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, config.Model) and kind is not config.Model
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_are_exactly_these(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"]) == 0
    found = re.findall(r"^  (--\S+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(found) == sorted(FLAGS[command].split())


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_field_says_what_a_resume_may_do(kind: type[config.Model]) -> None:
    for field in kind.model_fields:
        assert config.resume_rule(kind, field) in {"frozen", "free"}
        assert kind.model_fields[field].description


OF_OBJECTIVE = {"beta", "label_smoothing", "sft_weight", "option", "mean"}


def fields_read() -> set[str]:
    """Attributes taken from anything that is called a config or options, outside `config`."""
    found = set()
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and own_room(path) != "config":
                owner = ast.unparse(node.value).rpartition(".")[2].strip("_")
                if owner in {"config", "options"}:
                    found.add(node.attr)
    return found


def test_every_field_is_read() -> None:
    fields = {field for kind in CONFIGS for field in kind.model_fields}
    assert fields - fields_read() - OF_OBJECTIVE == set()


def test_options_of_the_objective_are_handed_on() -> None:
    """Through `objective_options` to `build`, which refuses what it does not know."""
    paths = {"model": "m", "data": "d", "out": "o"}
    asked = {"beta": 0.2, "label_smoothing": 0.1, "sft_weight": 0.3, "option": ("wpo=true",)}
    found = config.DpoConfig.model_validate(paths | asked).objective_options
    assert found == {"beta": 0.2, "label_smoothing": 0.1, "sft_weight": 0.3, "wpo": "true"}
    assert config.SftConfig.model_validate(paths | {"mean": "sequence"}).objective_options == {
        "mean": "sequence"
    }


# ---- documents


def listed_files() -> set[str]:
    """The paths of the README's file tree: folders end in a slash, two spaces per level."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").rpartition("```text\n")[2]
    folders: list[str] = []
    found = set()
    for line in block.partition("```")[0].splitlines():
        match = re.match(r"( *)(\S+)", line)
        assert match, line
        depth = len(match[1]) // 2
        folders[depth:] = [match[2]]
        found.add("".join(folders))
    return found


def test_the_readme_lists_what_exists() -> None:
    missing = [name for name in listed_files() if not (ROOT / name).exists()]
    assert not missing


def test_the_readme_lists_every_module() -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in MODULES if path.stem != "__init__"}
    assert modules - listed_files() == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_shows_every_command(command: str) -> None:
    assert f"palate {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    lines = (ast.get_docstring(tree(path)) or "").splitlines()
    assert lines and len(lines[0]) > 3
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_readme_example_is_read_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    examples, pairs = (tmp_path / name for name in ("examples.jsonl", "pairs.jsonl"))
    examples.write_text(blocks[0])
    pairs.write_text(blocks[1])
    assert len(sources.read(str(examples), kind="sft").rows) == 1
    (pair,) = sources.read(str(pairs), kind="pairs").rows
    assert str(pair.chosen).startswith("Two-bedroom")


def test_the_readme_recipe_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    path = tmp_path / "palate.toml"
    path.write_text(block)
    stages = config_file.load(path)
    assert stages.sft and stages.dpo
    assert stages.dpo.model == "runs/listings/sft"
