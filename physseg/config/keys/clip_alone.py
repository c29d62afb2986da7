"""Keys of segmentation from CLIP alone (ClipSegmenter)."""

from physseg.config.key import Area, Key
from physseg.config.rules import Choice, Float, Int, List, Text

# fmt: off
CLIP_ALONE = Area("CLIP alone", "Training-free segmentation: MODEL.META_ARCHITECTURE ClipSegmenter; beside these, "
                  "MODEL.DENSE.METHOD, INPUT.MIN_SIZE_TEST, TEST.SLIDING_WINDOW, WINDOW_SIZE and WINDOW_STRIDE.", (
    Key("MODEL.DENSE.SCALE", 40.0, Float(above=0, most=1e6), "Softmax over the words of this times the cosine."),
    Key("MODEL.DENSE.POSITION_OFFSET", 0.1, Float(0, 1),
        "Positions are resized by the factor (grid + this) / native grid, as in DINO's code and the published ones "
        "after it; 0: by the ratio of sizes, as PhysSeg does."),
    Key("MODEL.DENSE.OUTLIERS", "som", Choice("som", "l2", "lof"),
        'How "sfp" finds outlying patches: by the attention of the block before the last, by norm, by density.'),
    Key("MODEL.DENSE.PAMR_STEPS", 0, Int(0, 1000),
        "Steps of PAMR, which refines class maps by the picture's pixels; 0: none."),
    Key("MODEL.DENSE.PAMR_DILATIONS", [8, 16], List(Int(1, 1000), least=1), "How far its neighbours lie, in pixels."),
    Key("MODEL.DENSE.PROXY.NAME", "vit_base_patch8_224", Text(), 'timm ViT that "proxyclip" takes similarities from.'),
    Key("MODEL.DENSE.PROXY.PRETRAINED", "dino", Text(empty=True), 'timm tag, local file, or "" (random).'),
    Key("TEST.AREA_THRESHOLD", 0.0, Float(0, below=1),
        "Classes but the first with a smaller share of the pixels outside the first class are dropped: a rule of SCLIP "
        "and SC-CLIP for VOC-21, whose first class is the background. 0: none."),
    Key("TEST.BACKGROUND_ENTROPY", 0.0, Float(0, 100),
        "Above 0, for data sets whose first class is the background: its words take no part, and pixels whose entropy "
        "over the other classes is larger become background (PACL: 1.5 nats). 0: no such rule."),
))
