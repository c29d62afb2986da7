"""The cases on a pretended GPU, in an interpreter of their own: a device that is known once stays for all tests."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.utils.backend_registration

CASES = Path(__file__).with_name("pretended_gpu_cases.py")


# The package works with older releases; the device's parts are PyTorch's own, and private.
PARTS = {
    "torch.utils.backend_registration._setup_privateuseone_for_python_backend": torch.utils.backend_registration,
    "torch._C._ExcludeDispatchKeyGuard": torch._C,
}
MISSING = [name for name, module in PARTS.items() if not hasattr(module, name.rpartition(".")[2])]


@pytest.mark.skipif(bool(MISSING), reason=f"torch {torch.__version__} lacks {', '.join(MISSING)}")
def test_the_model_on_a_pretended_gpu():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    run = subprocess.run(command, cwd=CASES.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert " passed" in run.stdout
