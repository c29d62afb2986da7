"""Keys of the losses: segmentation, patch alignment, physical structure."""

from physseg.config.key import Area, Key
from physseg.config.rules import Bool, Choice, Float, Int, List, Text

_FILE_SOURCES = ("canny", "sift", "superpoint", "edge_gt")
_SOURCE = Choice(*_FILE_SOURCES, "kornia_canny", "sobel")
_LEVEL = Choice("level1", "level2", "dense", "g3", "g4", "g5")
_WEIGHT = Float(0, 1e6)

# fmt: off
LOSSES = Area("Losses", "Segmentation, and the weighted patch-level alignment L_sac (eq. 2-3).", (
    Key("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", 255, Int(-1, 65535),
        "Label value that marks unlabelled pixels in the maps the model receives; must not be a class index."),
    Key("MODEL.LOSS.IGNORED_PIXELS", "zero_target", Choice("zero_target", "masked"),
        '"zero_target": an ignored pixel counts with an all-zero target (CAT-Seg); "masked": it does not count.'),
    Key("MODEL.PATCH_ALIGNMENT.ENABLED", False, Bool(), "Add L_sac."),
    Key("MODEL.PATCH_ALIGNMENT.WEIGHT", 1.0, _WEIGHT, "lambda_sac of eq. 4."),
    Key("MODEL.PATCH_ALIGNMENT.DIM", 0, Int(0, 8192),
        "Channels after the projections o_image and o_text; 0: as many as CLIP's text features."),
    Key("MODEL.PATCH_ALIGNMENT.TEMPERATURE", 0.07, Float(0.01, 100),
        "Initial tau; learnt from there on, never below 0.01 (both as CLIP)."),
    Key("MODEL.PATCH_ALIGNMENT.FORM", "neg_log", Choice("neg_log", "soft_cross_entropy"),
        '"neg_log": eq. 3 with the missing -log; "soft_cross_entropy": -sum w log p.'),
    Key("MODEL.PATCH_ALIGNMENT.NEGATIVES", "vocabulary", Choice("vocabulary", "present"),
        'Classes in the softmax: the whole "vocabulary", or those "present" in the batch.'),
))

STRUCTURE = Area("Physical structure", "Regularisation by physical structure, L_p (sec. 3.1).", (
    Key("MODEL.STRUCTURE.ENABLED", False, Bool(), "Add L_p: the structure head and its pseudo ground truths."),
    Key("MODEL.STRUCTURE.WEIGHT", 1.0, _WEIGHT, "lambda_p of eq. 4."),
    Key("MODEL.STRUCTURE.SOURCES", ["canny"], List(_SOURCE, least=1, distinct=True),
        "Pseudo ground truths, one output channel each. \"kornia_canny\" and \"sobel\" (a soft one) are made on the "
        "model's device; they need the extra \"kornia\"."),
    Key("MODEL.STRUCTURE.LEVELS", ["dense", "level2", "g4", "g5"], List(_LEVEL, least=2, distinct=True),
        "Levels of the head, coarse and deep first: the encoder's last word, its middle, and the two guidance maps, "
        "which bring the grid to a quarter of the image's side."),
    Key("MODEL.STRUCTURE.DIM", 256, Int(1, 8192),
        "Channels of every level after its 1x1 convolution (the paper's 256)."),
    Key("MODEL.STRUCTURE.NORM", "GN", Choice("GN", "LN", "BN", "SyncBN", ""),
        'Normalisation in the Refine modules; "GN" does not depend on the batch, which is 1 image per GPU; "": none.'),
    Key("MODEL.STRUCTURE.OUTPUT_SIZE", 0, Int(0, 8192), "Side of the output grid; 0: that of the finest level."),
    Key("MODEL.STRUCTURE.PICTURE_PERIOD", 1000, Int(0),
        "Iterations between TensorBoard pictures of image, pseudo ground truth and estimate; 0: none."),
    Key("MODEL.STRUCTURE.MAPS_SOURCES", [], List(Choice(*_FILE_SOURCES), distinct=True),
        "Sources read from files instead of computed on the crop."),
    Key("MODEL.STRUCTURE.MAPS_ROOT", "", Text(empty=True), "The folder that tools/make_structure_labels.py wrote."),
    Key("MODEL.STRUCTURE.CANNY.THRESHOLDS", [50.0, 150.0], List(Float(0, 1e6), 2, 2),
        "Low and high threshold on the gradient of the 0-255 grey image."),
    Key("MODEL.STRUCTURE.CANNY.MEDIAN_SPREAD", 0.0, Float(0, below=1),
        "s > 0: thresholds (1 - s) and (1 + s) times the image's median instead (0.33 is customary)."),
    Key("MODEL.STRUCTURE.CANNY.SIGMA", 1.0, Float(0, 100),
        "Gaussian blur before the gradient, in pixels: less texture, fewer JPEG edges; 0: none."),
    Key("MODEL.STRUCTURE.SIFT.MIN_RESPONSE", 0.02, Float(0, 1),
        "Least contrast of a keypoint, in 0-1 grey units; OpenCV finds none below 0.013."),
    Key("MODEL.STRUCTURE.SIFT.MIN_SIZE", 2.0, Float(0, 1e4), "Least diameter of a keypoint in pixels."),
    Key("MODEL.STRUCTURE.SIFT.MAX_SIZE", 32.0, Float(0, 1e4),
        "Largest: keypoints beyond it are whole regions, not local structure."),
    Key("MODEL.STRUCTURE.SIFT.RADIUS", 2, Int(0, 100), "Radius of the disc drawn at a keypoint, in pixels."),
    Key("MODEL.STRUCTURE.SUPERPOINT.WEIGHTS", "magic-leap-community/superpoint", Text(),
        'Model hub id or local folder; needs the extra "superpoint".'),
    Key("MODEL.STRUCTURE.SUPERPOINT.THRESHOLD", 0.005, Float(0, 1),
        "Least keypoint score (the published model's own default)."),
    Key("MODEL.STRUCTURE.SUPERPOINT.RADIUS", 2, Int(0, 100), "As SIFT's."),
    Key("MODEL.STRUCTURE.SOBEL.SIGMA", 1.0, Float(0, 100), "As Canny's."),
    Key("MODEL.STRUCTURE.SOBEL.SATURATION", 150.0, Float(above=0, most=1e6),
        "Gradient from which on a pixel is all edge; below it, in proportion. Canny's high threshold."),
    Key("MODEL.STRUCTURE.EDGE_GT.HALF_WIDTH", 1, Int(1, 100), "Pixels marked on each side of a boundary."),
))
