"""COCO-Stuff 164K: ``stuffthingmaps`` PNGs with values 0..181 and 255.

The values are the official ids (1..182 in labels.txt) minus 1; 255 is unlabelled. Eleven ids never occur.
"""

from physseg.data.raw_formats.index_png import convert, expected_names, plan

__all__ = ["convert", "expected_names", "plan"]
