"""The frontier study as jobs: for each seed data, training runs, and a measurement of each."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from study.frontier import BEST_OF, REWARD, Arm, Scale, arms
from study.frontier_data import Place
from study.jobs import Job
from study.store import Store

KEPT = ("sft", REWARD)  # runs that others start from
SHOWN = (1, 3, 5)  # examples in the context
COPYING = ("sft", "dpo 0.1")  # whose texts are looked for in training


def jobs(out: Path, seeds: Sequence[int], scale: Scale) -> Iterator[Job]:
    """Arm after arm, so that an arm that is there has all its seeds; the grids come last."""
    places = [Place(out / "work" / str(seed), seed, scale) for seed in seeds]
    for place in places:
        yield Job(f"examples/{place.seed}", partial(_examples, place))
    for arm in arms():
        for place in places:
            yield from _of_arm(arm, place)
        if arm.name == "sft":
            for place in places:
                yield from _of_sft(place)
    for place in places:
        yield from _baselines(place, out / "results.jsonl")


def _of_arm(arm: Arm, place: Place) -> Iterator[Job]:
    seed = place.seed
    needs = tuple(f"{name}/{seed}" for name in arm.needs) or (f"examples/{seed}",)
    yield Job(f"{arm.name}/{seed}", partial(_train, arm, place), needs)
    if arm.name not in (REWARD, "sft"):
        needs = (f"{arm.name}/{seed}", f"pool/{seed}")
        yield Job(f"{arm.name} measured/{seed}", partial(_measure, arm, place), needs)


def _of_sft(place: Place) -> Iterator[Job]:
    """What is drawn from the SFT model, and its own point."""
    seed = place.seed
    yield Job(f"pool/{seed}", partial(_pool, place), (f"sft/{seed}",))
    sft = next(arm for arm in arms() if arm.name == "sft")
    yield Job(f"sft measured/{seed}", partial(_measure, sft, place), (f"pool/{seed}",))
    yield Job(f"base measured/{seed}", partial(_base, place), (f"pool/{seed}",))
    yield Job(f"best of n/{seed}", partial(_best_of, place), (f"sft/{seed}",))


def _baselines(place: Place, results: Path) -> Iterator[Job]:
    seed = place.seed
    for count in SHOWN:
        make = partial(_prompted, place, count)
        yield Job(f"prompted {count} measured/{seed}", make, (f"examples/{seed}",))
    needs = tuple(f"{arm} measured/{seed}" for arm in COPYING)
    yield Job(f"copied/{seed}", partial(_copied, place, results), needs)


def _prompted(place: Place, count: int) -> Mapping[str, Any]:
    from study.frontier_baselines import with_examples

    about = {"seed": place.seed, "arm": f"prompted {count}", "what": "measured"}
    return about | with_examples(place, count)


def _copied(place: Place, results: Path) -> Mapping[str, Any]:
    from study.frontier_baselines import longest_runs

    records = Store(results).records
    of = {arm: records[f"{arm} measured/{place.seed}"] for arm in COPYING}
    return {"seed": place.seed, "arm": "copied", **longest_runs(place, of)}


def _examples(place: Place) -> Mapping[str, Any]:
    return {"seed": place.seed, "arm": "examples", **place.examples()}


def _train(arm: Arm, place: Place) -> Mapping[str, Any]:
    from study.frontier_training import trained

    found = trained(arm, place)
    return {"seed": place.seed, "arm": arm.name, "what": "trained", **found}


def _pool(place: Place) -> Mapping[str, Any]:
    """The SFT model's texts, judged and made into pairs."""
    from study.frontier_measure import drawn
    from study.jobs import Usage

    usage = Usage()
    texts = drawn(place)
    (place.folder / "pool.json").write_text(json.dumps(texts), encoding="utf-8")
    took = usage.told()["cpu"]
    return {"seed": place.seed, "arm": "pool", "cpu": took, **place.judged(texts)}


def _base(place: Place) -> Mapping[str, Any]:
    from study.frontier_measure import measured
    from study.frontier_training import BASE_MODEL

    found = measured(place, BASE_MODEL, BASE_MODEL, moments=False)
    return {"seed": place.seed, "arm": "base", "what": "measured", **found}


def _best_of(place: Place) -> Mapping[str, Any]:
    from study.frontier_measure import best_of
    from study.jobs import Usage

    usage = Usage()
    found = best_of(place, max(BEST_OF))
    return {"seed": place.seed, "arm": "best of n", **usage.told(), **found}


def _measure(arm: Arm, place: Place) -> Mapping[str, Any]:
    """Points of a run; then it is removed, unless others start from it.

    One that was removed by a call that did not live to store the points is trained again.
    """
    from study.frontier_measure import measured
    from study.frontier_training import start_of, trained

    run = place.run(arm.name)
    if not (run / "final").exists():
        trained(arm, place)
    found = measured(place, run, start_of(arm, place), moments=True)
    if arm.name not in KEPT:
        shutil.rmtree(run)
    return {"seed": place.seed, "arm": arm.name, "what": "measured", **found}
