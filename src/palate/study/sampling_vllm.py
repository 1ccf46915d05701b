"""Texts from vLLM in this process, for a machine whose GPU should be busy.

Written against vLLM's documented offline interface (`LLM.generate` with token ids, one
`SamplingParams` each).  Prompts are laid out and texts decoded by palate, so they mean the same as
with transformers; the draws themselves are vLLM's.  No log-prob is recorded: the engine did not
run.  Versions before 0.18 are refused: they could be made to run a model's own code.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from transformers import AutoConfig, GenerationConfig

from palate.config import SampleConfig
from palate.data.render import Renderer
from palate.data.rows import Example
from palate.engine.identity import model_identity
from palate.engine.locate import Place, locate
from palate.engine.model import context_of, read_tokenizer
from palate.engine.sample import Ids, added_text, cut
from palate.errors import ModelError, UsageError
from palate.study.sampling import Ask, Made
from palate.study.sampling_local import laid_out, prompt_ids
from palate.study.source import laid_out as rows_of
from palate.train.events import Listener, Note

FLOOR: Final = (0, 18)
RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # the LoRA ranks that vLLM makes room for
_INSTALL = "Install it: pip install 'palate[vllm]' (it needs a GPU)."


class InVllm:
    """A run, a Hugging Face folder or an adapter, inside vLLM.  Raises PalateError."""

    size = 512

    def __init__(
        self, model: str, config: SampleConfig, rows: Sequence[Example], listen: Listener
    ) -> None:
        self._vllm = _installed()
        place = locate(model)
        tokenizer = read_tokenizer(place, model)
        context = context_of(AutoConfig.from_pretrained(place.base), tokenizer)
        renderer = Renderer(tokenizer, rows_of(model, config)[1], context=context)
        self._ids = prompt_ids(renderer, config, rows, context=context)
        self._config, self._context, self._tokenizer = config, context, tokenizer
        self._stops = tuple(sorted({*renderer.stop_ids, *_named_ends(place)}))
        self.about: dict[str, Any] = {
            "model": model,
            "identity": model_identity(place.base, place.adapter),
            "engine": "vllm",
            **laid_out(renderer),
        }
        listen(Note("no log-probs: what vLLM draws is not scored here (`palate score` does that)"))
        self._llm, self._adapter = _started(self._vllm, place, context)

    def close(self) -> None:
        """vLLM frees the GPU with its last name."""

    def draw(self, asks: Sequence[Ask]) -> list[Made]:
        """The texts, in one call."""
        prompts = [self._ids[id(ask.row)] for ask in asks]
        answers = self._llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            [self._params(ask, ids) for ask, ids in zip(asks, prompts, strict=True)],
            use_tqdm=False,
            lora_request=self._adapter,
        )
        return [self._made(ids, answer.outputs[0]) for ids, answer in zip(prompts, answers)]

    def _params(self, ask: Ask, ids: Ids) -> Any:
        return self._vllm.SamplingParams(
            temperature=ask.temperature,
            top_p=ask.top_p,
            max_tokens=min(self._config.max_new_tokens, self._context - len(ids)),
            seed=_seed(self._config.seed, ids, ask.draw),
            stop_token_ids=list(self._stops),
            detokenize=False,
        )

    def _made(self, prompt: Ids, output: Any) -> Made:
        ids, end = cut(tuple(output.token_ids), self._stops)
        ended = end is not None or output.finish_reason == "stop"
        return Made(added_text(self._tokenizer, prompt, ids), ended, len(ids) + ended)


def _installed() -> Any:
    """The module, if it is there and safe to use."""
    try:
        found = version("vllm")
        import vllm  # type: ignore[import-not-found, unused-ignore]
    except (PackageNotFoundError, ImportError) as error:
        raise UsageError("vLLM is not installed.", hint=_INSTALL) from error
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < FLOOR:
        what = f"vLLM {found} could be made to run a model's own code (CVE-2026-27893)."
        raise UsageError(what, hint="Install vllm>=0.18.")
    return vllm


def _started(vllm: Any, place: Place, context: int) -> tuple[Any, Any]:
    """The engine, and the adapter that its requests name, if there is one."""
    options: dict[str, Any] = {}
    request = None
    if place.adapter is not None:
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found, unused-ignore]

        options = {"enable_lora": True, "max_lora_rank": _room(place.adapter)}
        request = LoRARequest("palate", 1, str(place.adapter))
    try:
        llm = vllm.LLM(
            model=str(place.base),
            max_model_len=context,
            generation_config="vllm",  # no temperature or top-k of the model's own
            trust_remote_code=False,
            **options,
        )
    except (ValueError, RuntimeError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        what = f"vLLM cannot load {place.base}: {said[:300].rstrip('.')}."
        raise ModelError(what, hint="Leave --vllm out.") from error
    return llm, request


def _room(adapter: Path) -> int:
    """The smallest rank of vLLM's that holds the adapter's."""
    rank = int(json.loads((adapter / "adapter_config.json").read_bytes()).get("r", RANKS[0]))
    return next((room for room in RANKS if room >= rank), rank)


def _named_ends(place: Place) -> set[int]:
    """What the model's own generation config ends a text with."""
    folders = [folder for folder in (place.adapter, place.base) if folder is not None]
    found = [folder for folder in folders if (folder / "generation_config.json").exists()]
    if not found:
        return set()
    named = GenerationConfig.from_pretrained(found[0]).eos_token_id
    return set(named if isinstance(named, list) else [] if named is None else [named])


def _seed(seed: int, prompt: Ids, draw: int) -> int:
    """31 bits from (seed, prompt, draw)."""
    text = f"{seed} {draw} {' '.join(map(str, prompt))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
