"""For every test of the core and of the plugins."""

from __future__ import annotations

import os
import signal
import socket

import hypothesis
import pytest

# One thread in every process, before torch is imported: the tests are many and small, and OpenMP
# threads that spin for one another cost more than they compute on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background, a shell lets its programs ignore Ctrl-C, and what they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that test are shared and slow: a deadline would fail on load, not on a defect.
hypothesis.settings.register_profile("harness", deadline=None, max_examples=50)
hypothesis.settings.load_profile("harness")

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0] if isinstance(address, tuple) else address
            assert host in LOOPBACK, f"a test tried to connect to {address}"
        connect(self, address)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_user_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the settings and caches of whoever runs the tests out of them."""
    for name in (
        "STORE",
        "DATA",
        "WEIGHTS",
        "LOAD_PLUGINS",
        "LOG_LEVEL",
        "DEVICE",
        "WORKERS",
        "OFFLINE",
    ):
        monkeypatch.delenv(f"HARNESS_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
