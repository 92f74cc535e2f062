"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each of several test processes: threads of all of them would wait for the same cores."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images, labels and a real network; tests that need it skip without it."""
    root = Path(os.environ.get("ANOMSEG_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip("the folder of real data is not here (set ANOMSEG_SHARED to the folder that holds data/)")
    return root
