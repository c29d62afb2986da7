"""Training in tests: one computing thread, so that processes can be forked and sums are in one order."""

import pytest
import torch


# Of the module's scope, so that it holds for the modules' own fixtures too.
@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
