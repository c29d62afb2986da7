"""Data sets: the table of benchmarks, preparation, verification, mapping to model inputs, loading."""
