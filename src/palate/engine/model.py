"""A model from any source: weights, tokenizer, adapter, one dtype, and a hash of what they are.

Refused, each with one message: weights that are pickled, partial, quantised or of another shape, a
missing tokenizer or one with ids past the embedding, an adapter of another base, remote code.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from palate.config import Dtype
from palate.engine.identity import model_identity, weight_files
from palate.engine.locate import Place, locate
from palate.errors import ModelError

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "*.tiktoken",
)
_UNBOUNDED = 1 << 20  # the context of a model that names no limit


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to use.  Nothing is trainable until `adapters` says what is.

    `base` is what an adapter's file calls its base: a folder's full path, or a hub id.  `identity`
    is the sha256 of the weights as they were loaded, adapter included.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    source: str
    base: str
    adapter: str | None
    identity: str
    dtype: torch.dtype
    dtype_reason: str
    context: int
    notes: tuple[str, ...] = ()

    @property
    def core(self) -> PreTrainedModel:
        """The transformers model inside, with LoRA layers in place where there are any."""
        return core_of(self.model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text: those of the generation config, and the tokenizer's EOS."""
        named = self.core.generation_config.eos_token_id
        ids = named if isinstance(named, list) else [named]
        return tuple(dict.fromkeys(i for i in [*ids, self.tokenizer.eos_token_id] if i is not None))


def core_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside a peft model, or the model itself."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def load(
    source: str,
    *,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a run of palate, a Hugging Face folder or hub id, or a PEFT adapter folder.

    Raises ModelError.  `dtype` None: bfloat16 on a GPU that has it, else float32.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen, reason = decide_dtype(dtype, where)
    place = locate(source, trust_remote_code=trust_remote_code)
    with quiet():
        model, notes = read_weights(
            place,
            source,
            chosen,
            factory=AutoModelForCausalLM,
            check=_speaks,
            trust_remote_code=trust_remote_code,
        )
        inner: nn.Module = model if place.adapter is None else _with_adapter(model, place, source)
        tokenizer = read_tokenizer(place, source, trust_remote_code=trust_remote_code)
    notes += _check_ids(tokenizer, model, source)
    inner.requires_grad_(False)
    return Loaded(
        model=inner.to(where).eval(),
        tokenizer=tokenizer,
        source=source,
        base=place.base_name,
        adapter=None if place.adapter is None else str(place.adapter),
        identity=model_identity(place.base, place.adapter),
        dtype=chosen,
        dtype_reason=reason,
        context=context_of(model.config, tokenizer),
        notes=notes,
    )


def decide_dtype(asked: Dtype | None, device: torch.device) -> tuple[torch.dtype, str]:
    """The one dtype of weights and arithmetic, and why."""
    if asked is not None:
        return getattr(torch, asked), "asked for"
    if device.type != "cuda":
        return torch.float32, "the exact choice on a CPU"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "this GPU computes it fast, and it needs half the memory"
    return torch.float32, "this GPU has no bfloat16"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' reports and bars: what matters in them is checked and raised here."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def read_weights(
    place: Place,
    source: str,
    dtype: torch.dtype,
    *,
    factory: Any,
    check: Callable[[Any, str], None],
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The base model as the class `factory`, every weight of it from the file.

    `check` is handed the config and the source, and may raise ModelError.
    """
    try:
        config = AutoConfig.from_pretrained(place.base, trust_remote_code=trust_remote_code)
        check(config, source)
        _refuse_quantised(config, source)
        model, report = factory.from_pretrained(
            place.base,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:
        raise _unreadable(place, source, error) from error
    _refuse_partial(report, model, source)
    notes = tuple(
        f"{source}: '{name}' is not part of this model and was left out."
        for name in sorted(report["unexpected_keys"])[:3]
    )
    return model, notes


def _unreadable(place: Place, source: str, error: Exception) -> ModelError:
    """What transformers or safetensors said, in one line, with what to do."""
    files = ", ".join(path.name for path in weight_files(place.base)[:3])
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "trust_remote_code" in str(error):
        return ModelError(
            f"{source} brings its own Python code, which palate does not run.",
            hint="Use a model whose architecture transformers knows.",
        )
    return ModelError(
        f"{source} cannot be loaded ({files}): {said}",
        hint="Check that config.json and the weights belong together and are whole.",
    )


def _speaks(config: Any, source: str) -> None:
    """A reward model has no head over the vocabulary; with tied embeddings none would be missed."""
    names = config.architectures or []
    if any(name.endswith("ForSequenceClassification") for name in names):
        raise ModelError(
            f"{source} is a reward model ({names[0]}): it gives answers a number and writes none.",
            hint="Name the model that it was trained from. To be paid by it: palate ppo --reward.",
        )


def _refuse_quantised(config: Any, source: str) -> None:
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"{source} has quantised weights, which cannot be trained or merged exactly.",
            hint="Use the model they were made from.",
        )


def _refuse_partial(report: Any, model: PreTrainedModel, source: str) -> None:
    """A tensor that the file lacks would be drawn at random, and nobody told."""
    missing = sorted(report["missing_keys"] | {key[0] for key in report["mismatched_keys"]})
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} of the {len(model.state_dict())} weights that its"
            f" config.json asks for: {', '.join(missing[:3])}.",
            hint="Download or save the model again.",
        )


def _with_adapter(model: PreTrainedModel, place: Place, source: str) -> PeftModel:
    """The adapter's layers in the base, every tensor of the file in its place."""
    assert place.adapter is not None
    try:
        config = LoraConfig.from_pretrained(str(place.adapter))
        config.inference_mode = True
        with torch.random.fork_rng():
            tuned = get_peft_model(model, config)
        result = tuned.load_adapter(str(place.adapter), "default", torch_device="cpu")
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise _wrong_base(place, source, said) from error
    wrong = [*result.missing_keys, *result.unexpected_keys]
    if wrong:
        raise _wrong_base(place, source, f"{len(wrong)} tensors do not match: {wrong[0]} ...")
    tuned.peft_config["default"].base_model_name_or_path = place.base_name
    if (place.adapter / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(place.adapter)
    return cast(PeftModel, tuned)


def _wrong_base(place: Place, source: str, said: str) -> ModelError:
    return ModelError(
        f"The adapter {source} does not fit its base {place.base_name}: {said}",
        hint="It was made for another model: correct base_model_name_or_path in its"
        " adapter_config.json.",
    )


def read_tokenizer(
    place: Place, source: str, *, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The adapter's own tokenizer if it has one, else the base's."""
    folders = [folder for folder in (place.adapter, place.base) if folder is not None]
    found = [f for f in folders if any(any(f.glob(name)) for name in _TOKENIZER_FILES)]
    if not found:  # transformers would make an empty one for some families
        raise ModelError(
            f"{source} has no tokenizer: none of {', '.join(_TOKENIZER_FILES[:3])} ... is there.",
            hint="Save the tokenizer into the same folder: tokenizer.save_pretrained(folder).",
        )
    factory: Any = AutoTokenizer
    try:
        tokenizer = factory.from_pretrained(found[0], trust_remote_code=trust_remote_code)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The tokenizer in {found[0]} cannot be read: {said}", hint="Save it again."
        ) from error
    return cast(PreTrainedTokenizerBase, tokenizer)


def _check_ids(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, source: str
) -> tuple[str, ...]:
    """Every id needs a row of the embedding; a spare special token without one is only noted."""
    rows = embedding_rows(model)
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    spare = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    used = [token for token in beyond if token not in spare or token in _in_use(tokenizer)]
    if used:
        raise ModelError(
            f"{source}: the tokenizer has ids up to {max(beyond.values())}, but the embedding has"
            f" {rows} rows; {len(used)} tokens are past its end, such as {used[0]!r}.",
            hint="Tokenizer and weights do not belong together.",
        )
    if beyond:
        return (f"The tokens {', '.join(beyond)} have no embedding: no text may hold them.",)
    return ()


def _in_use(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    return {str(tokenizer.bos_token), str(tokenizer.eos_token)}


def embedding_rows(model: PreTrainedModel) -> int:
    """How many token ids the model knows."""
    embedding: Any = cast(Any, model).get_input_embeddings()
    return int(embedding.weight.shape[0])


def context_of(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens that a model of this config was made for."""
    config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return min(int(limit), _UNBOUNDED)
