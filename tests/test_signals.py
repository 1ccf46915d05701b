"""The first signal asks, the second one ends the process."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from palate.runs.signals import stop_on_signals

WORK = """
    import signal, sys, time
    {before}
    from palate.runs.signals import stop_on_signals
    with stop_on_signals() as stop:
        print("ready", flush=True)
        try:
            while not stop.requested:
                time.sleep(0.01)
            print("saving", flush=True)
            time.sleep({saving})
        finally:
            print("cleaned", flush=True)
    print("saved", flush=True)
    sys.exit(stop.exit_code)
"""


def start(saving: float, before: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(WORK).format(saving=saving, before=before)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_saves_and_exits(number: signal.Signals, code: int) -> None:
    process = start(saving=0)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("saving\ncleaned\nsaved\n", code)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_exit_at_once(first: signal.Signals, second: signal.Signals, code: int) -> None:
    process = start(saving=60)
    process.send_signal(first)
    assert process.stdout is not None and process.stdout.readline() == "saving\n"
    began = time.monotonic()
    process.send_signal(second)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("", code)
    assert time.monotonic() - began < 10


def test_an_ignored_signal_stays_ignored() -> None:
    process = start(saving=0, before="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_handlers_come_back_after_the_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested and stop.exit_code == 143
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_may_use_it_and_hears_nothing() -> None:
    heard: list[bool] = []

    def work() -> None:
        with stop_on_signals() as stop:
            heard.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
