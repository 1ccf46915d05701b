"""Drives the headless Chromium that is installed, over its debugging pipe; stdlib only.

Tests that use it skip where there is none.  Pages are opened from files; every request that leaves
the file, and every error that a page logs, is kept.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FOUND = next((path for path in map(shutil.which, NAMES) if path), None)
needs_browser = pytest.mark.skipif(FOUND is None, reason="needs chromium (apt install chromium)")
PATIENCE = 60.0

# The browser reads commands on 3 and answers on 4; Python's own pipes may lie there until exec.
_LAUNCH = """
import os, sys
ours = [os.dup(int(number)) for number in sys.argv[1:3]]
ours = [os.dup(os.dup(number)) if number < 5 else number for number in ours]
os.dup2(ours[0], 3)
os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page of one browser: `with Browser() as browser: browser.open(path)`."""

    def __init__(self) -> None:
        assert FOUND
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), FOUND, *_FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={self.folder.name}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._count, self._session = b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._attach()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            os.write(self._out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self.folder.cleanup()

    def open(self, path: Path, *, width: int = 1200, height: int = 900, **media: str) -> None:
        """Open a file.  `media`: features with `_` for `-`, as `prefers_color_scheme="dark"`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._until("Page.loadEventFired")

    def value(self, code: str) -> Any:
        """What an expression of the page's script is."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        typed = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is in sight, or the whole page, as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {
            "clip": {**{name: size[name] for name in ("x", "y", "width", "height")}, "scale": 1}
        }

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = self._until(self._count)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _until(self, awaited: int | str) -> dict[str, Any]:
        """The answer of that number or the event of that name; what passes by is noted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            while b"\0" not in self._buffer:
                self._read(deadline)
            line, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(line)
            self._note(message.get("method"), message.get("params", {}))
            if awaited in (message.get("id"), message.get("method")):
                return dict(message)

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
        part = os.read(self._in, 1 << 20) if ready else b""
        assert part, "the browser does not answer"
        self._buffer += part

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.errors.append(str(told["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
