"""The allocator's settings, seen by the pages that a process is given."""

import platform
import subprocess
import sys

import pytest

from physseg import memory

# Takes and frees 64 MB twice; prints how many pages the system handed over for the second time.
PROGRAM = """
import resource, runpy
memory = runpy.run_path({path!r})
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"x" * 2**26
before = faults()
b"x" * 2**26
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_used_again():
    def pages(call):
        command = [sys.executable, "-c", PROGRAM.format(path=memory.__file__, call=call)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pages("memory['keep_freed_memory']()") < pages("") / 10
