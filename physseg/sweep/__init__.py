"""Sweeps: many trainings from one YAML file, and one table of them."""

from physseg.sweep.spec import Row, Run, Sweep, load_sweep

__all__ = ["Row", "Run", "Sweep", "load_sweep"]
