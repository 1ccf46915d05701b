"""`palate reward` from command to `final/`, and the folder in use: as trained, and anybody's."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import reward_cases
import tiny
from palate import cli
from palate.data.rewards import Answered, Reward
from palate.data.rows import Message
from palate.data.sources import read
from palate.engine import classifier
from palate.engine.pack import Row
from palate.engine.policy import Policy
from palate.errors import DataError, ModelError, NumericsError, UsageError
from palate.rlhf.reward import OpenedReward, open_reward, require_same_tokenizer
from palate.runs import checkpoint
from palate.train.events import Evaluation, Event, Note, Step

PROMPT = "place 3: the flat near the lift"
ANSWERS = ["It has 7 baths and a lift.", "Lovely, the lift.", "It has 7 baths", "Lovely"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_cases.world(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def lora(root: Path) -> Path:
    """A finished run."""
    return reward_cases.train(root, "lora").finished.path


@pytest.fixture(scope="module")
def full(root: Path) -> Path:
    return reward_cases.train(root, "full", full=True).finished.path


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "final" / "model.safetensors").read_bytes()).hexdigest()


# ---------------------------------------------------------------- the stage


def test_it_learns_and_says_what_it_knows(root: Path) -> None:
    heard: list[Event] = []
    options = {"max_steps": 12, "full": True, "centring": 0.001}
    heldout = str(root / "pairs.jsonl")
    done = reward_cases.train(root, "learns", heard, heldout=heldout, **options)
    first, *_, last = [event for event in heard if isinstance(event, Evaluation)]
    assert last.loss < first.loss and last.accuracy is not None and last.accuracy.value == 1.0
    steps = [event for event in heard if isinstance(event, Step)]
    assert all(step.margin is not None for step in steps)
    assert done.facts.found is not None and done.facts.std > 0
    assert done.facts.answers == 2 * done.finished.evaluation.items  # type: ignore[union-attr]
    record = json.loads((root / "learns" / "run.json").read_text())
    assert record["stage"] == "reward" and record["cost"]["models"] == 1
    assert record["objective"]["options"]["centring"] == 0.001


def test_the_pairs_that_report_did_not_choose_the_weights(root: Path) -> None:
    rows = [row | {"prompt": f"{row['prompt']} {n}"} for n, row in enumerate(reward_cases.pairs())]
    heldout = str(reward_cases.lines(root / "heldout.jsonl", rows))
    for final, pairs in (("best", 12), ("last", 24)):
        done = reward_cases.train(root, f"final-{final}", heldout=heldout, final=final)
        found = done.facts.found
        assert found is not None and found.accuracy.count == pairs and not done.facts.chose
    few = reward_cases.train(root, "chose").facts
    assert few.chose and few.found is not None and few.found.accuracy.count == 2


def test_the_head_is_in_the_checkpoints_and_in_the_end(root: Path, lora: Path) -> None:
    found = checkpoint.newest(lora)
    assert found is not None
    head = found.tensors["weights"]["head.weight"]
    names = set(found.tensors["weights"]) - {"head.weight"}
    assert head.shape == (1, 32) and names and all("lora_" in name for name in names)
    final = load_file(lora / "final" / "model.safetensors")
    best = load_file(lora / "best" / "weights.safetensors")
    assert torch.equal(final["score.weight"], best["head.weight"])
    assert not any("lora" in name or "lm_head" in name for name in final)


def test_the_same_command_does_nothing_more_and_another_seed_another_head(
    root: Path, lora: Path
) -> None:
    heard: list[Event] = []
    before = digest(lora)
    reward_cases.train(root, "lora", heard)
    said = " ".join(event.text for event in heard if isinstance(event, Note))
    assert "finished: nothing to do" in said and digest(lora) == before
    assert digest(reward_cases.train(root, "again").finished.path) == before
    assert digest(reward_cases.train(root, "seed", seed=1).finished.path) != before


@pytest.mark.parametrize(
    "changes", [{"margin": 1.0}, {"label_smoothing": 0.2}, {"centring": 0.1}], ids=str
)
def test_every_option_has_an_effect(root: Path, lora: Path, changes: dict[str, Any]) -> None:
    name = f"with-{next(iter(changes))}"
    assert digest(reward_cases.train(root, name, **changes).finished.path) != digest(lora)


@pytest.mark.parametrize(
    "changes",
    [
        {"grad_checkpoint": True},
        {"lora_dropout": 0.2},
        {"dtype": "bfloat16"},
        {"dtype": "bfloat16", "full": True},
        {"truncate": "prompt-left", "max_length": 24},
    ],
    ids=str,
)
def test_it_trains_under_every_option_that_training_has(
    root: Path, changes: dict[str, Any]
) -> None:
    name = "-".join(changes)
    done = reward_cases.train(root, f"{name}-{changes.get('full')}", max_steps=3, **changes)
    opened = open_reward(str(done.finished.path))
    assert len(opened.score([Answered(PROMPT, answer) for answer in ANSWERS])) == 4


def test_a_much_better_answer_is_asked_for_twice_the_margin(root: Path) -> None:
    rows = [row | {"strength": 2} for row in reward_cases.pairs()]
    data = reward_cases.lines(root / "strong.jsonl", rows)
    (first, *_) = read(str(data), kind="pairs").rows
    assert first.strength == 2.0 and first.swapped().strength == 2.0
    options = {"heldout": str(root / "pairs.jsonl"), "batch_size": 24, "max_steps": 2}
    losses = {}
    for name, path, margin in (("strong", data, 0.5), ("plain", root / "pairs.jsonl", 1.0)):
        heard: list[Event] = []
        reward_cases.train(root, name, heard, data=str(path), margin=margin, **options)
        losses[name] = [event.loss for event in heard if isinstance(event, Step)]
    assert losses["strong"] == pytest.approx(losses["plain"], rel=1e-5)


def test_without_anything_held_out_the_facts_are_of_the_training_rows(root: Path) -> None:
    data = reward_cases.lines(root / "few.jsonl", reward_cases.pairs()[:8])
    done = reward_cases.train(root, "few", data=str(data))
    assert done.finished.evaluation is None
    assert done.facts.found is None and done.facts.answers == 16


def test_rewards_that_are_all_the_same_are_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from palate.rlhf import reward_stage

    def same(model: Any, items: Any, budget: int) -> torch.Tensor:
        return torch.ones(len(items), 2)

    monkeypatch.setattr(reward_stage, "reward_items", same)
    with pytest.raises(NumericsError, match="learnt nothing"):
        reward_cases.train(root, "same")
    assert not (root / "same" / "final").exists()


# ---------------------------------------------------------------- final/, read by transformers


def texts(tokens: Any) -> list[str]:
    """Unequal lengths; the first three end in EOS, the last was cut off."""
    ends = [tokens.eos_token, tokens.eos_token, tokens.eos_token, ""]
    return [f"{PROMPT}\n{answer}{end}" for answer, end in zip(ANSWERS, ends, strict=True)]


@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_class_says_in_a_padded_batch_what_palate_says(
    name: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(name)
    model, tokens = reward_cases.loaded(run / "final")
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert model.config.num_labels == 1 and model.config.pad_token_id != model.config.eos_token_id
    assert tokens.pad_token_id == model.config.pad_token_id
    opened = open_reward(str(run))
    asked = [Answered(PROMPT, answer, place < 3) for place, answer in enumerate(ANSWERS)]
    got = opened.score(asked)
    assert got == pytest.approx(reward_cases.said(run / "final", texts(tokens)), abs=2e-5)
    alone = [opened.score([each])[0] for each in asked]
    assert got == pytest.approx(alone, abs=2e-5)
    assert max(got) - min(got) > 1e-2, "the same reward for everything proves nothing"


def test_the_padding_trap(root: Path, tmp_path: Path) -> None:
    """Padding that is also the end: pooled one token too early, unless another one is named."""
    base = tiny.folder(tmp_path / "model", num_hidden_layers=1)
    for name in ("config.json", "tokenizer_config.json"):
        fields = json.loads((base / name).read_text())
        fields |= {"pad_token_id": 1} if name == "config.json" else {"pad_token": "</s>"}
        (base / name).write_text(json.dumps(fields))
    run = reward_cases.train(root, "trap", model=str(base)).finished.path
    model, tokens = reward_cases.loaded(run / "final")
    assert model.config.pad_token_id not in (None, tokens.eos_token_id)
    got = open_reward(str(run)).score([Answered(PROMPT, answer) for answer in ANSWERS[:2]])
    wanted = reward_cases.said(run / "final", texts(tokens)[:2])
    assert got == pytest.approx(wanted, abs=2e-5)
    factory: Any = AutoTokenizer
    require_same_tokenizer(open_reward(str(run)), factory.from_pretrained(base), "policy")
    trapped = tmp_path / "trapped"
    shutil.copytree(run / "final", trapped)
    model.config.pad_token_id = tokens.eos_token_id
    model.config.save_pretrained(trapped)
    tokens.pad_token = tokens.eos_token
    tokens.save_pretrained(trapped)
    differ = reward_cases.said(trapped, texts(tokens)[:2])
    assert max(abs(a - b) for a, b in zip(differ, wanted, strict=True)) > 1e-3
    # whoever trained it that way meant it: palate reads such a folder as its class does
    as_meant = open_reward(str(trapped)).score([Answered(PROMPT, a) for a in ANSWERS[:2]])
    assert as_meant == pytest.approx(differ, abs=2e-5)


def test_a_tokenizer_with_no_token_to_spare_gets_one_for_padding(
    root: Path, tmp_path: Path
) -> None:
    base = tiny.folder(tmp_path / "model", "gpt2", vocab_size=tiny.TOKENS)
    fields = json.loads((base / "tokenizer_config.json").read_text())
    for name in ("pad_token", "bos_token", "unk_token"):
        fields.pop(name, None)
    (base / "tokenizer_config.json").write_text(json.dumps(fields))
    raw = json.loads((base / "config.json").read_text()) | {"pad_token_id": None}
    (base / "config.json").write_text(json.dumps(raw))
    run = reward_cases.train(root, "spare", model=str(base)).finished.path
    model, tokens = reward_cases.loaded(run / "final")
    assert tokens.pad_token == classifier.PADDING
    assert tokens.pad_token_id == model.config.pad_token_id == tiny.TOKENS
    got = open_reward(str(run)).score([Answered(PROMPT, answer) for answer in ANSWERS[:2]])
    assert got == pytest.approx(reward_cases.said(run / "final", texts(tokens)[:2]), abs=2e-5)
    factory: Any = AutoTokenizer
    require_same_tokenizer(open_reward(str(run)), factory.from_pretrained(base), "policy")


def test_a_head_that_was_not_saved_would_be_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = classifier._padded

    def without(found: Any, sequences: Any) -> torch.Tensor:
        with torch.no_grad():
            found.score.weight.mul_(0)
        return padded(found, sequences)

    monkeypatch.setattr(classifier, "_padded", without)
    with pytest.raises(NumericsError, match="not what was trained"):
        reward_cases.train(root, "lost")
    assert not (root / "lost" / "final").exists()


def test_conversations_keep_their_template(tmp_path: Path) -> None:
    root = reward_cases.world(tmp_path, chat_template=reward_cases.CHATML)
    run = reward_cases.train(root, "chat").finished.path
    _, tokens = reward_cases.loaded(run / "final")
    assert tokens.chat_template == reward_cases.CHATML
    talk = (Message("user", PROMPT),)
    asked = [Answered(talk, ANSWERS[0]), Answered(talk, ANSWERS[3], False), Answered(talk, "")]
    said = [
        f"user: {PROMPT}</s>\nassistant: {ANSWERS[0]}</s>",
        f"user: {PROMPT}</s>\nassistant: {ANSWERS[3]}",
        f"user: {PROMPT}</s>\nassistant: </s>",
    ]
    got = open_reward(str(run)).score(asked)
    assert got == pytest.approx(reward_cases.said(run / "final", said), abs=2e-5)
    (whole,) = open_reward(str(_foreign(run, tmp_path))).score(asked[:1])
    assert [whole] == pytest.approx(reward_cases.said(run / "final", [said[0] + "\n"]), abs=2e-5)


def _foreign(run: Path, tmp_path: Path) -> Path:
    """The same weights where no run is: the folder of a stranger."""
    return Path(shutil.copytree(run / "final", tmp_path / "foreign"))


# ---------------------------------------------------------------- in use


def test_it_is_a_reward(lora: Path, tmp_path: Path) -> None:
    opened = open_reward(str(lora))
    reward: Reward = opened
    assert (reward.kind, reward.models, reward.name) == ("model", 1, str(lora))
    assert reward.score([]) == []
    assert opened.mean is not None and opened.std is not None and opened.std > 0
    final = open_reward(str(lora / "final"))
    assert final.identity == opened.identity and len(opened.identity) == 64
    foreign = open_reward(str(_foreign(lora, tmp_path)))
    assert foreign.std is None
    asked = [Answered(PROMPT, answer) for answer in ANSWERS]
    assert foreign.score(asked) == opened.score(asked)


def test_how_a_prompt_was_joined_is_remembered(root: Path) -> None:
    run = reward_cases.train(root, "joined", join=" => ").finished.path
    got = open_reward(str(run / "final")).score([Answered(PROMPT, ANSWERS[0])])
    wanted = reward_cases.said(run / "final", [f"{PROMPT} => {ANSWERS[0]}</s>"])
    assert got == pytest.approx(wanted, abs=2e-5)
    other = reward_cases.train(root, "joined-not").finished.path
    assert open_reward(str(run)).identity != open_reward(str(other)).identity


def test_a_prompt_s_answers_share_its_tokens(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_reward(str(lora))
    ends, rows = Policy.ends, []

    def noted(self: Policy, row: Row) -> torch.Tensor:
        rows.append(row)
        return ends(self, row)

    monkeypatch.setattr(Policy, "ends", noted)
    opened.score([Answered(PROMPT, answer) for answer in ANSWERS])
    (row,) = rows
    assert len(row.items) == 4 and len(row.ids_T) < sum(len(path) for path in row.paths) * 0.7


def test_an_answer_that_is_too_long_is_named(root: Path, lora: Path) -> None:
    with pytest.raises(DataError, match="takes 2 to 256"):
        open_reward(str(lora)).score([Answered(PROMPT, "bath " * 300)])


def test_a_reward_that_is_not_finite_is_refused(
    lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_reward(str(lora))
    with torch.no_grad():
        opened._read.model.head.weight.fill_(float("inf"))
    with pytest.raises(NumericsError, match="not finite"):
        opened.score([Answered(PROMPT, ANSWERS[0])])


def test_another_tokenizer_is_refused_naming_both(lora: Path, tmp_path: Path) -> None:
    opened = open_reward(str(lora))
    require_same_tokenizer(opened, tiny.tokenizer(), "runs/sft")
    other = tiny.tokenizer()
    other.add_tokens(["balcony"])
    with pytest.raises(UsageError, match=r"lora has another tokenizer than the policy runs/sft"):
        require_same_tokenizer(opened, other, "runs/sft")
    require_same_tokenizer(object(), other, "runs/sft")  # a program reads text


# ---------------------------------------------------------------- refusals


def save_class(folder: Path, *, labels: int = 1, **fields: Any) -> Path:
    """A stranger's folder with random weights."""
    factory: Any = AutoModelForSequenceClassification
    config = tiny.config("llama", num_hidden_layers=1, num_labels=labels)
    factory.from_config(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def test_a_stranger_s_folder_is_read(tmp_path: Path) -> None:
    opened = open_reward(str(save_class(tmp_path / "theirs")))
    got = opened.score([Answered(PROMPT, answer) for answer in ANSWERS[:2]])
    wanted = reward_cases.said(tmp_path / "theirs", texts(opened.tokenizer)[:2])
    assert got == pytest.approx(wanted, abs=2e-5) and opened.notes == ()


def test_several_labels_are_no_reward(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 3 labels"):
        open_reward(str(save_class(tmp_path / "three", labels=3)))


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "bert", vocab_size=tiny.VOCAB, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=1,
    )  # fmt: skip
    factory: Any = AutoModelForSequenceClassification
    factory.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="one linear layer"):
        open_reward(str(tmp_path))


def test_a_head_that_pools_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = classifier._alone
    monkeypatch.setattr(classifier, "_alone", lambda *words: alone(*words) + 0.1)
    with pytest.raises(ModelError, match="one linear layer over the last token"):
        open_reward(str(save_class(tmp_path)))


def test_a_missing_head_is_noticed(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = save_class(tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    weights.pop("score.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1"):
        open_reward(str(folder))


def test_a_language_model_is_no_reward(root: Path) -> None:
    with pytest.raises(ModelError, match=r"is no reward model: its config.json says LlamaFor"):
        open_reward(str(root / "model"))


def test_an_adapter_is_no_reward(tmp_path: Path, root: Path) -> None:
    fields = {"peft_type": "LORA", "base_model_name_or_path": str(root / "model")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(fields))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="read whole"):
        open_reward(str(tmp_path))


def test_a_run_that_is_no_reward_model_or_no_finished_one(lora: Path, tmp_path: Path) -> None:
    for changes, said in (({"stage": "dpo"}, "palate dpo"), ({"finished": False}, "not finished")):
        folder = Path(shutil.copytree(lora, tmp_path / said))
        record = json.loads((folder / "run.json").read_text()) | changes
        (folder / "run.json").write_text(json.dumps(record))
        with pytest.raises(UsageError, match=said):
            open_reward(str(folder))


@pytest.mark.parametrize("kind", ["granite", "cohere2"])
def test_a_family_without_a_class_stops_before_anything_is_made(
    kind: str, root: Path, tmp_path: Path
) -> None:
    base = tiny.folder(tmp_path / "model", kind)
    with pytest.raises(ModelError, match=f"family '{kind}' cannot become a reward model"):
        reward_cases.train(root, f"no-{kind}", model=str(base))
    assert not (root / f"no-{kind}").exists()


# ---------------------------------------------------------------- the command


def words(root: Path, out: str, *more: str) -> list[str]:
    found = ["reward", "--model", str(root / "model"), "--data", str(root / "pairs.jsonl")]
    return [*found, "--out", str(root / out), "--max-steps", "3", *more]


def test_the_command_says_what_the_model_knows(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words(root, "said")) == 0
    said = capsys.readouterr().out
    for part in (
        "rewards: mean ",
        "held-out pairs right, which chose the weights too",
        "calibration error",
        "next: palate ppo --model",
        "palate best-of-n",
        str(root / "said"),
    ):
        assert part in said


def test_its_history_is_read_as_any_other(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["history", str(lora)]) == 0
    said = capsys.readouterr().out
    assert "palate diagnose" in said and "palate score" not in said


def test_examples_are_no_pairs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in reward_cases.pairs()]
    data = reward_cases.lines(root / "sft.jsonl", rows)
    asked = ["--model", str(root / "model"), "--data", str(data), "--out", str(root / "sft-rows")]
    assert cli.run(["reward", *asked]) == 2
    assert "is an SFT file" in capsys.readouterr().err
    assert not (root / "sft-rows").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["sft", "--data", "{root}/sft2.jsonl", "--out", "{root}/x", "--model"],
        ["dpo", "--data", "{root}/pairs.jsonl", "--out", "{root}/x", "--model"],
        ["reward", "--data", "{root}/pairs.jsonl", "--out", "{root}/x", "--model"],
        ["sample"],
        ["export", "--out", "{root}/x"],
    ],
    ids=lambda words: words[0],
)
def test_a_reward_run_is_no_policy(
    command: list[str], root: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in reward_cases.pairs()]
    reward_cases.lines(root / "sft2.jsonl", rows)
    asked = [word.format(root=root) for word in command] + [str(lora)]
    if command == ["sample"]:
        asked.append(str(root / "pairs.jsonl"))
    assert cli.run(asked) == 2
    said = capsys.readouterr().err
    assert "is a reward model (LlamaForSequenceClassification)" in said
    assert "palate ppo --reward" in said and not (root / "x").exists()


def test_an_opened_reward_shows_its_type() -> None:
    assert OpenedReward.kind == "model"
