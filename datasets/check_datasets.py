#!/usr/bin/env python
"""Check prepared data sets: counts, names, label values, sizes. Exit status 0 if every one asked for is ready.

python datasets/check_datasets.py                    the training set and the six benchmarks
python datasets/check_datasets.py a150 pas20 --json
python datasets/check_datasets.py --config-file my.yaml my_train      one's own data, see docs/own_data.md
"""

from physseg.data.check_command import main

if __name__ == "__main__":
    raise SystemExit(main())
