"""Images with captions, and images alone: what models learn from that see no masks.

A set of them is named in DATASETS.TRAIN like any other; `sources` says which there are and where they lie. The loader
follows from the set. A batch is Detectron2's list of dicts, one for each sample:

    image         uint8 (3, S, S) RGB, the crop, S = INPUT.PAIRS.SIZE
    caption       str, never empty; absent where the set is of images alone
    image_id      int or str; samples of one image_id are siblings, and never each other's negatives
    file_name     str, of the image, or TAR/KEY
    height, width of the image before the crop

Further targets of the crop (superpixels, ...) stand beside them under their own names: `mapper.PairMapper`.
"""
