"""Keys of data: input, loading, data sets."""

from physseg.config.key import Area, Key
from physseg.config.rules import Bool, Choice, Either, Float, Int, List, Mapping, Only, Text

_SIDE = Int(1, 65536)

# fmt: off
INPUT = Area("Input", "CAT-Seg's recipe: short side to 384, a crop of 384, colours, flip.", (
    Key("INPUT.FORMAT", "RGB", Only("RGB"), "CLIP's order of channels."),
    Key("INPUT.MIN_SIZE_TRAIN", (384,), List(_SIDE, least=1), "Short side in training, one of these."),
    Key("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice", Choice("choice", "range"),
        '"choice": one of MIN_SIZE_TRAIN; "range": anything between its two values.'),
    Key("INPUT.MAX_SIZE_TRAIN", 1333, _SIDE,
        "Longest side in training: Detectron2's default, which CAT-Seg leaves as it is."),
    Key("INPUT.MIN_SIZE_TEST", 640, Int(0, 65536), "Short side at test; 0: images keep their size."),
    Key("INPUT.MAX_SIZE_TEST", 2560, _SIDE, "Longest side at test."),
    Key("INPUT.RANDOM_FLIP", "horizontal", Choice("horizontal", "vertical", "none"), "Every second image, by chance."),
    Key("INPUT.CROP.ENABLED", True, Bool(), "Train on crops."),
    Key("INPUT.CROP.TYPE", "absolute", Choice("absolute", "absolute_range", "relative", "relative_range"),
        '"absolute" crops are padded to INPUT.CROP.SIZE: the image with 128, labels with the ignore value.'),
    Key("INPUT.CROP.SIZE", [384, 384], List(Either(_SIDE, Float(above=0, most=1)), 2, 2),
        "Height and width in pixels, or for the relative types as shares of the image."),
    Key("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 1.0, Float(above=0, most=1),
        "Below 1: a crop is drawn again (up to 10 times) while one class fills more than this share of it."),
    Key("INPUT.LABEL_RESIZE", "centre", Choice("centre", "corner"),
        'A resized label map takes the label under the "centre" of each pixel, in line with the image, or at its '
        '"corner", half a source pixel off (CAT-Seg: nearest-neighbour interpolation of PyTorch).'),
    Key("INPUT.COLOR_AUG_SSD", True, Bool(), "Brightness, contrast, saturation and hue as in SSD."),
))

PAIRS = Area("Input of captions and images", "How an image becomes a square where a model learns without masks.", (
    Key("INPUT.PAIRS.SIZE", 224, _SIDE, "Side of the crop in pixels."),
    Key("INPUT.PAIRS.CROP", "random", Choice("random", "centre"),
        '"random": a crop of random area and aspect ratio, 3/4 to 4/3 (SegCLIP); "centre": the largest square in the '
        "middle, the same each time (ZeroSeg). Both are resized to SIZE."),
    Key("INPUT.PAIRS.CROP_AREA", [0.5, 1.0], List(Float(above=0, most=1), 2, 2),
        "Least and largest share of the image that a random crop shows."),
    Key("INPUT.PAIRS.FLIP", False, Bool(), 'Mirror every second image; captions say "left" and "right".'),
    Key("INPUT.PAIRS.NOUNS", "", Text(empty=True),
        "A vocabulary, or a file with one word a line: each that stands in a caption, in one of MODEL.TEXT.TEMPLATES, "
        "is one more text that may take the caption's place (PACL). Empty: captions alone."),
))

LOADER = Area("Loading", "Batches by position: a resumed training sees the very samples it would have seen.", (
    Key("DATALOADER.NUM_WORKERS", 4, Int(0, 1024), "Processes that load images, of each training process; 0: itself."),
    Key("DATALOADER.SKIP_BROKEN", False, Bool(),
        "True replaces a training image that cannot be read by another and counts it; False stops and names it."),
    Key("DATALOADER.LANES", 16, Int(1, 100_000),
        "Tars are read in as many lanes, fewer where there are fewer tars or the batch does not divide; processes and "
        "workers share them out. Part of what decides the order of samples."),
    Key("DATALOADER.SAMPLER_TRAIN", "TrainingSampler", Only("TrainingSampler"), "Samples are drawn evenly."),
    Key("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, Only(False), "Made for instances; every image has a label map."),
    Key("DATALOADER.ASPECT_RATIO_GROUPING", False, Only(False), "Crops are of one size."),
))

DATASETS = Area("Data sets", "Names as Detectron2's catalog has them; see docs/own_data.md for one's own.", (
    Key("DATASETS.TRAIN", ("coco_2017_train_stuff_all_sem_seg",), List(Text()), "One after the other, as one."),
    Key("DATASETS.TRAIN_SHARE", 1.0, Float(above=0, most=1),
        "Share of the training images that is used, at least one; SEED decides which. For studies of few labels."),
    Key("DATASETS.TEST", (
        "ade20k_full_sem_seg_freq_val_all",
        "context_459_test_sem_seg",
        "ade20k_150_test_sem_seg",
        "context_59_test_sem_seg",
        "voc_2012_test_sem_seg",
        "voc_2012_test_background_sem_seg",
    ), List(Text(), distinct=True), "The benchmarks of the paper's tables."),
    Key("DATASETS.CUSTOM", [], List(Either(Mapping(), Text())),
        "One's own data: a list of {name, images, labels, classes, ...} or of files holding that."),
    Key("DATASETS.PAIRS", [], List(Either(Mapping(), Text())),
        "One's own captions and images: a list of {name, captions, images}, {name, images}, {name, tars} or of files "
        "holding that (docs/without_masks.md)."),
    Key("DATASETS.CAPTIONS", "one", Choice("one", "each", "shuffled"),
        '"one": a sample is an image with one of its captions, drawn each time; "each": every caption is a sample; '
        '"shuffled": as "one", with the captions of another image, a control that must fail to learn.'),
    Key("DATASETS.ALLOW_PARTIAL", False, Bool(),
        "True runs on what there is of a benchmark whose image count is not the expected one, with a warning."),
))
