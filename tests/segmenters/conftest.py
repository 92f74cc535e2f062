"""Fixtures of the segmenters' tests; the modules of made networks beside this file are importable from all of them."""

import pytest
from hf_networks import saved_model


@pytest.fixture(scope="session")
def saved_segformer(tmp_path_factory):
    """Directory of a tiny SegFormer as transformers writes it; copy it before changing anything in it."""
    return saved_model(tmp_path_factory.mktemp("hub") / "segformer")


@pytest.fixture(scope="session")
def saved_mask2former(tmp_path_factory):
    """The same of a tiny Mask2Former."""
    return saved_model(tmp_path_factory.mktemp("hub") / "mask2former", "mask2former")
