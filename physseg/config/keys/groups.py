"""Keys of models that put patches into groups: SegCLIP and ZeroSeg."""

from physseg.config.key import Area, Key
from physseg.config.rules import Choice, Float, Int, List, Text

_WEIGHT = Float(0, 1e6)
_COUNT = Int(1, 8192)

# fmt: off
GROUPS = Area("Groups", "What SegCLIP and ZeroSeg have in common at test; beside these, INPUT.MIN_SIZE_TEST, "
              "TEST.SLIDING_WINDOW, WINDOW_SIZE and WINDOW_STRIDE (docs/without_masks.md).", (
    Key("MODEL.GROUPS.TOP_CLASSES", 5, _COUNT,
        "A group's score is a softmax over all classes times one over so many that fit the whole window best."),
    Key("MODEL.GROUPS.BACKGROUND_THRESHOLD", 0.0, Float(0, 1),
        "On a benchmark with a background class, groups whose best score is below this become background, and the "
        "background has no words; one group of a window at least keeps its class. 0: the background has its words."),
))

SEGCLIP = Area("SegCLIP", "MODEL.META_ARCHITECTURE SegCLIP: the published numbers.", (
    Key("MODEL.SEGCLIP.GROUPS", 8, _COUNT, "Learnt centres."),
    Key("MODEL.SEGCLIP.LATE_BLOCKS", 2, Int(0, 1000), "Image blocks, the last ones, that see the centres alone."),
    Key("MODEL.SEGCLIP.CROSS_BLOCKS", 2, Int(1, 1000), "Cross-attention blocks of the grouping."),
    Key("MODEL.SEGCLIP.CROSS_KEYS", "per_image", Choice("per_image", "torch18"),
        'What a centre sees there: "per_image" its own image; "torch18" what the published code does with several '
        "images under torch 1.8, which mixes tokens of all of them. One image at a time both are the same."),
    Key("MODEL.SEGCLIP.TEMPERATURE", 0.9, Float(above=0, most=1e3), "Of the Gumbel-softmax."),
    Key("MODEL.SEGCLIP.SUPERPIXELS.WEIGHT", 1.0, _WEIGHT,
        'Of the superpixel loss; above 0 training needs the extra "superpixels".'),
    Key("MODEL.SEGCLIP.SUPERPIXELS.SCALE", 224.0, Float(above=0, most=1e6), "Felzenszwalb's: larger, larger pieces."),
    Key("MODEL.SEGCLIP.SUPERPIXELS.SIGMA", 0.9, Float(0, 100), "Of the blur before, in pixels."),
    Key("MODEL.SEGCLIP.SUPERPIXELS.MIN_SIZE", 224, Int(0), "Least size of a piece in pixels."),
    Key("MODEL.SEGCLIP.SUPERPIXELS.RULE", "majority", Choice("majority", "mean"),
        'Which piece a patch belongs to: that of most pixels, or the "mean" of their numbers as in the published '
        "loader, which may be no piece's."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.WEIGHT", 1.0, _WEIGHT, "Of the reconstruction loss; 0: no such branch."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.MASKED", 0.75, Float(above=0, below=1), "Share of the patches that is masked."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.BLOCKS", 2, Int(0, 1000), "Blocks of the branch before its decoder."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.DIM", 384, _COUNT, "Channels of the decoder, a multiple of 4."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.DEPTH", 3, Int(1, 1000), "Its blocks."),
    Key("MODEL.SEGCLIP.RECONSTRUCTION.HEADS", 8, Int(1, 1024), "Their heads; must divide DIM."),
))

ZEROSEG = Area("ZeroSeg", "MODEL.META_ARCHITECTURE ZeroSeg: the published numbers, where they are known. MODEL.CLIP is "
               "the teacher, and its text encoder names the segments.", (
    Key("MODEL.ZEROSEG.ENCODER.PATCH", 16, _COUNT, "Side of a patch in pixels."),
    Key("MODEL.ZEROSEG.ENCODER.DIM", 768, _COUNT, "Channels of encoder and segmentation head."),
    Key("MODEL.ZEROSEG.ENCODER.DEPTH", 12, Int(1, 1000), "Blocks of the encoder."),
    Key("MODEL.ZEROSEG.ENCODER.HEADS", 12, Int(1, 1024), "Heads of encoder and segmentation head; must divide DIM."),
    Key("MODEL.ZEROSEG.ENCODER.PRETRAINED", "", Text(empty=True),
        'timm model and tag of these sizes to start from, such as "vit_base_patch16_224.mae"; "": random weights.'),
    Key("MODEL.ZEROSEG.ENCODER.MASKED", 0.6, Float(0, below=1), "Share of the patches masked in training."),
    Key("MODEL.ZEROSEG.GROUPS", [32, 8], List(_COUNT, 2, 2), "Groups after the head's second and fourth layer."),
    Key("MODEL.ZEROSEG.TEMPERATURE", 1.0, Float(above=0, most=1e3), "Of the Gumbel-softmax (GroupViT's)."),
    Key("MODEL.ZEROSEG.SCALE", 100.0, Float(above=0, most=1e6),
        "What cosines of segments and words are multiplied with."),
    Key("MODEL.ZEROSEG.RECONSTRUCTION.WEIGHT", 1.0, _WEIGHT, "Of the reconstruction loss; 0: no decoder."),
    Key("MODEL.ZEROSEG.RECONSTRUCTION.DIM", 512, _COUNT, "Channels of the decoder, a multiple of 4 (MAE's)."),
    Key("MODEL.ZEROSEG.RECONSTRUCTION.DEPTH", 8, Int(1, 1000), "Its blocks."),
    Key("MODEL.ZEROSEG.RECONSTRUCTION.HEADS", 16, Int(1, 1024), "Their heads; must divide DIM."),
    Key("MODEL.ZEROSEG.MULTI_SCALE.WEIGHT", 1.0, _WEIGHT, "Of the loss between the image's feature and all views."),
    Key("MODEL.ZEROSEG.MATCHING.WEIGHT", 1.0, _WEIGHT, "Of the loss between each segment and the view nearest to it."),
    Key("MODEL.ZEROSEG.TEACHER.GRIDS", [1, 2, 3, 4], List(Int(1, 16), least=1, rising=True),
        "Views: the cells of n x n grids; 1 is the whole image."),
    Key("MODEL.ZEROSEG.TEACHER.IMAGE_SIZE", 224, Int(1, 8192), "Side in pixels of a view as the teacher sees it."),
    Key("MODEL.ZEROSEG.TEACHER.FEATURES", "", Text(empty=True),
        "Folder of the views' features, which tools/make_teacher_features.py makes; empty: the teacher sees the views "
        "in every step, which costs many times the step."),
))
