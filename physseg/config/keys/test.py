"""Keys of inference and evaluation."""

from physseg.config.key import Area, Key
from physseg.config.rules import Bool, Choice, Float, Int, List, Only, Text
from physseg.config.special_rules import ExpectedResult, Override

_SIDE = Int(1, 65536)

# fmt: off
TEST = Area("Test", "How an image is segmented.", (
    Key("TEST.SLIDING_WINDOW", False, Bool(),
        "CAT-Seg's key: four overlapping crops and the whole image instead of the whole image alone."),
    Key("TEST.POOLING", [1, 1], List(Int(1, 1024), 2, 2), "Class attention's pooling at test, whatever training used."),
    Key("TEST.WINDOW_SIZE", 384, _SIDE, "Side in pixels of a sliding-window crop."),
    Key("TEST.WINDOW_STRIDE", 256, _SIDE, "From one crop to the next."),
    Key("TEST.WINDOW_CANVAS", 640, _SIDE, "Side of the square that the image is squashed to."),
    Key("TEST.KEEP_ASPECT", False, Bool(),
        "True keeps the aspect ratio in sliding-window inference (CAT-Seg squashes to a square)."),
    Key("TEST.KEEP_CLASSES", 0, Int(0, 100_000),
        "K > 0: only the K classes that the rule below finds likeliest in an image or window go through aggregation; "
        "the others are dropped. Approximate, for speed. 0: all, exactly."),
    Key("TEST.KEEP_RULE", "similarity", Choice("similarity", "votes", "threshold"),
        '"similarity": largest at any position; "votes": each position\'s three best count 1, 0.1 and 0.01 (ERR-Seg); '
        '"threshold": as "similarity", where KEEP_THRESHOLD is reached.'),
    Key("TEST.KEEP_THRESHOLD", 0.2, Float(-1, 1), 'Least cosine of a kept class under "threshold".'),
    Key("TEST.PRECISION", "by_use", Choice("by_use", "auto", "float32", "bf16"),
        'What PhysSeg predicts in. "auto": bf16 on a device whose products run at least twice as fast in it, tried '
        'once, else float32. "by_use": float32 in evaluation, "auto" in Predictor and `physseg predict`.'),
    Key("TEST.CROP_PADDING", False, Bool(),
        "True removes the padded border before the prediction is resized (CAT-Seg does not)."),
))

EVALUATION = Area("Evaluation", "When, and what is counted.", (
    Key("TEST.EVAL_PERIOD", 0, Int(), "Iterations between evaluations; 0: only after the last."),
    Key("TEST.BEST_METRIC", "mean_mIoU", Text(empty=True),
        'What model_best.pth is the best by: "mean_<metric>" over DATASETS.TEST, or "<data set>/<metric>" of one of '
        "them; metrics: mIoU, mIoU_old, fwIoU, mACC, pACC, and boundary_IoU where TEST.BOUNDARY_IOU is on. Checked "
        "when training starts."),
    Key("TEST.BOUNDARY_IOU", False, Bool(),
        "True adds Boundary IoU (Cheng et al. 2021): no part of the published tables, and it costs time."),
    Key("TEST.BOUNDARY_DILATION", 0.02, Float(above=0, most=1),
        "Its distance as a fraction of the image diagonal (0.02 in that paper)."),
    Key("TEST.BOUNDARY_WIDTHS", [], List(Float(above=0, below=1), distinct=True),
        'More distances, each a metric of its own such as "boundary_IoU_0.01".'),
    Key("TEST.THIN_WIDTH", 0.0, Float(0, below=1),
        'Above 0 adds "thin_IoU": IoU near parts of objects narrower than this fraction of the diagonal.'),
    Key("TEST.PATCH_ACCURACY", False, Bool(),
        'True adds "patch_accuracy": share of patches whose nearest text feature is the right name, before the '
        "segmentation head, and the same for names seen and unseen in training."),
    Key("TEST.GROUP_PURITY", False, Bool(),
        'True adds "group_purity" where a model has groups (SegCLIP, ZeroSeg): share of pixels whose class is the most '
        'frequent one of their group; the same with patches shuffled; and the number of groups in use.'),
    Key("TEST.POINTING_ACCURACY", False, Bool(),
        'True adds "pointing_accuracy": share of the classes in an image whose most similar patch lies on them.'),
    Key("TEST.SEEN_SIMILARITY", 0.95, Float(-1, 1),
        "A benchmark's class counts as seen by text similarity from this cosine to its nearest training class on."),
    Key("TEST.BACKGROUND_THRESHOLD", 0.0, Float(0, 1),
        "On a benchmark with a background class, pixels whose best probability is lower become background."),
    Key("TEST.OVERRIDES", [], List(Override()),
        "Values that hold on one data set alone, such as [voc21, TEST.BACKGROUND_THRESHOLD, 0.1]."),
    Key("TEST.BATCH_SIZE", 1, Int(1, 100_000), "Images per forward pass and process in evaluation."),
    Key("TEST.EXPECTED_RESULTS", [], List(ExpectedResult()), "What Detectron2 compares the last evaluation to."),
    Key("TEST.AUG.ENABLED", False, Only(False), "Detectron2's test-time augmentation: not built. See SLIDING_WINDOW."),
    Key("TEST.PRECISE_BN.ENABLED", False, Only(False), "The model has no batch statistics."),
))
