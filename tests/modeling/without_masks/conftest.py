import numpy as np
import pytest
import torch


@pytest.fixture
def image():
    """No multiple of the patch size."""
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 99, 130), dtype=np.uint8))
