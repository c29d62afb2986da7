"""ADE20K-150 (SceneParse150): PNGs with values 0..150, 0 = other or unlabelled."""

from physseg.data.raw_formats.index_png import convert, expected_names, plan

__all__ = ["convert", "expected_names", "plan"]
