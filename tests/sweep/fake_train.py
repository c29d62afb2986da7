"""Stands for tools/train_net.py in sweep tests: counts iterations slowly, and writes results.json at the end.

FAKE_FAIL names seeds whose first try fails; FAKE_DIE, seeds that always fail; FAKE_STEPS, iterations of 0.05 s each.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

words = sys.argv[1:]
assert words[0] == "--config-file"
opts = words[words.index("--resume") + 1 :]
opts = dict(zip(opts[::2], opts[1::2], strict=True))
folder, seed = Path(opts["OUTPUT_DIR"]), int(opts["SEED"])
state = folder / "state.json"
iteration = json.loads(state.read_text()) if state.is_file() else 0
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
with open(folder / "starts.txt", "a") as starts:
    starts.write(f"{iteration} {os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
if str(seed) in os.environ.get("FAKE_DIE", "") or (str(seed) in os.environ.get("FAKE_FAIL", "") and not iteration):
    state.write_text("1")
    sys.exit("out of luck")
while iteration < int(os.environ.get("FAKE_STEPS", "1")):
    time.sleep(0.05)
    iteration += 1
    state.write_text(json.dumps(iteration))
    if stop:
        sys.exit(130)
score = 10.0 * float(opts.get("MODEL.STRUCTURE.WEIGHT", 1)) + seed
names = ["toy_voc_20_val_sem_seg", "toy_ade20k_full_val_sem_seg"]
(folder / "results.json").write_text(json.dumps({name: {"sem_seg": {"mIoU": score}} for name in names}))
