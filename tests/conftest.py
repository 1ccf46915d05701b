"""What every test shares: real data if it is there, no network, one thread, repeatable examples."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
settings.register_profile(
    "palate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("palate")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_LOOPBACK = ("127.", "localhost", "::1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models, tokenizers and examples beside the repository."""
    if not _SHARED.is_dir():
        pytest.skip("needs ../shared/data (real data beside the repository), which is not there")
    return _SHARED


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Only loopback and local sockets connect."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
            raise OSError(f"a test tried to reach {address}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Torch on one thread, if a test module has imported it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
