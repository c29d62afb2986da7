"""The allocator's settings, seen by the pages that a process is given."""

import subprocess
import sys

import pytest

# Takes and frees 64 MB twice; prints how many pages the system handed over for the second time.
PROGRAM = """
import resource, torch
from physseg.memory import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
before = faults()
torch.ones(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_used_again():
    def pages(call):
        command = [sys.executable, "-c", PROGRAM.format(call=call)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pages("keep_freed_memory()") < pages("") / 10
