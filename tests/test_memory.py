"""The peak memory of a process is its own, not that of the process which started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeppot_galactic import memory

ALONE = f"import runpy; print(runpy.run_path({memory.__file__!r})['peak_memory']())"


@pytest.mark.skipif(not memory.STATUS.is_file(), reason="only Linux says what is its own")
def test_peak_memory_is_not_inherited() -> None:
    held = np.ones(2**25)  # 256 MB
    child = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert memory.peak_memory() > held.nbytes / 2**20
    assert 1 < float(child.stdout) < 100


def test_systems_without_the_file_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = memory.peak_memory()
    monkeypatch.setattr(memory, "STATUS", Path("/no/such/file"))
    assert memory.peak_memory() >= 0.9 * known
