"""How long a verdict takes: from the key to the frame that shows the next pair, in a real browser.

    python benchmarks/judging.py [--answers 20000] [--verdicts 200] [--store FILE]

Fills a store, serves it with `palate judge`, and judges with the keyboard of Debian's Chromium:
once at the pace of a quick person, once as fast as pairs appear.  The clock starts in the key's own
event and stops after the frame that follows the change, so it holds what a person waits for.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from palate.judge.store import Store

PER_PROMPT = 4
PACE_MS = 120
SENTENCES = (
    "The flat lies on the third floor and has two windows to the street.",
    "It was rebuilt in 1998, and the boiler dates from 2016.",
    "Fees come to $815 a month; heating is not part of them.",
    "The market is ten minutes away on foot, and the station twelve.",
)
# What is measured: keydown -> the pair changes -> the frame is drawn.
CLOCK = """() => {
  const answers = document.getElementById('answers');
  window.times = []; let began = 0;
  document.addEventListener('keydown', () => { began = performance.now(); }, true);
  new MutationObserver(() => {
    if (!began || !answers.dataset.presentation) return;
    const from = began; began = 0;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.times.push(performance.now() - from);
      port2.postMessage(0);
    });
  }).observe(answers, { attributes: true, attributeFilter: ['data-presentation'] });
}"""


def fill(path: Path, answers: int) -> None:
    """Prompts with four answers of some 60 words each."""
    with Store.open(path) as store, store.transaction():
        for number in range(answers // PER_PROMPT):
            prompt = store.add_prompt(f"Describe flat {number}. {' '.join(SENTENCES[:2])}")
            for which in range(PER_PROMPT):
                text = " ".join(SENTENCES[which:] + SENTENCES[:which])
                store.add_answer(prompt.id, f"Flat {number}. {text}", "sample")


def serve(store: Path) -> tuple["subprocess.Popen[str]", str, float]:
    """The command, its link, and the seconds until it printed it, which is when it listens."""
    code = "from palate.cli import main; main()"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "judge", str(store), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout
    for line in process.stdout:
        found = re.search(r"http://\S+", line)
        if found:
            return process, found.group(), time.perf_counter() - began
    raise SystemExit("palate judge did not start")


def judge(page: Page, count: int, pace_ms: int) -> list[float]:
    """Milliseconds of `count` verdicts; the next key is pressed when the last pair is there."""
    page.evaluate("window.times.length = 0")
    for number in range(count):
        page.keyboard.press(("ArrowLeft", "ArrowRight", "ArrowDown")[number % 3])
        while len(page.evaluate("window.times")) <= number:
            pass
        page.wait_for_timeout(pace_ms) if pace_ms else None
    return [float(each) for each in page.evaluate("window.times")]


def told(name: str, times: Sequence[float]) -> str:
    ordered = sorted(times)
    middle, high = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    return f"{name:<28} median {middle:5.1f} ms   p95 {high:5.1f} ms   most {ordered[-1]:5.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--verdicts", type=int, default=200)
    parser.add_argument("--store", type=Path, help="a store to keep and to use again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.store or Path(folder) / "store.db"
        if not path.exists():
            fill(path, asked.answers)
        measure(path, asked.verdicts)


def measure(path: Path, verdicts: int) -> None:
    with Store.open(path) as store:
        size = store.size("answer")
    process, link, started = serve(path)
    try:
        with sync_playwright() as playwright:
            chromium: Any = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            began = time.perf_counter()
            page.goto(link)
            page.wait_for_selector('#answers[data-presentation]:not([data-presentation=""])')
            opened = time.perf_counter() - began
            page.evaluate(CLOCK)
            paced, quick = judge(page, verdicts, PACE_MS), judge(page, verdicts, 0)
            browser.close()
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout:
            process.stdout.close()
    print(f"{size:,} answers, {verdicts} verdicts each")
    print(f"start: the command listens   {started:.2f} s;  page to first pair {opened:.2f} s")
    print(told(f"a verdict every {PACE_MS} ms or so", paced))
    print(told("as fast as pairs appear", quick))


if __name__ == "__main__":
    main()
