"""Every configuration key of physseg: its default and one line of why.

`add_physseg_config` extends Detectron2's `CfgNode` in place. Keys that Detectron2 already has
(``MODEL.WEIGHTS``, ``SOLVER.*``, ``DATASETS.*``, ``INPUT.*``) keep their meaning; only defaults that the
method fixes are changed here, so that a YAML file states what differs from the paper's recipe.
"""

import os
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from .config_files import merge_config, pairs_to_mapping, read_config_chain


def load_config(
    config_file: str | os.PathLike | None, opts: Sequence[object] = (), output_dir: str | os.PathLike | None = None
) -> CN:
    """Detectron2's and physseg's defaults, then ``config_file`` with its ``_BASE_`` files, then ``opts``.

    Args:
        config_file: a YAML file; empty or None for the defaults alone.
        opts: overrides in pairs, ``("SOLVER.BASE_LR", 1e-4, ...)``; values may be strings, as from a shell.
        output_dir: OUTPUT_DIR, if given; wins over file and ``opts``.

    Returns:
        The config, not frozen.

    Raises:
        FileNotFoundError: a config file is missing.
        ValueError: an unknown key, a value of the wrong type or out of range, or YAML that is not plain data.
    """
    cfg = get_cfg()
    add_physseg_config(cfg)
    defaults = cfg.clone()
    for path, content in read_config_chain(config_file) if config_file else []:
        merge_config(cfg, content, str(path), defaults)
    merge_config(cfg, pairs_to_mapping(opts), "command-line overrides", defaults)
    if output_dir is not None:
        cfg.OUTPUT_DIR = str(output_dir)
    check_solver(cfg)
    return cfg


def check_solver(cfg: CN) -> None:
    """Check the values of training's keys that only make sense in a range or together.

    Raises:
        ValueError: names the key, what it may be, and what it is.
    """
    solver = cfg.SOLVER
    per_step = solver.ACCUMULATION_STEPS
    rules = (
        ("SEED", cfg.SEED >= 0, "must be 0 or more: data order, augmentation and weights follow from it", cfg.SEED),
        ("SOLVER.MAX_ITER", solver.MAX_ITER >= 0, "must be 0 or more", solver.MAX_ITER),
        ("SOLVER.ACCUMULATION_STEPS", per_step >= 1, "must be 1 or more", per_step),
        (
            "SOLVER.IMS_PER_BATCH",
            solver.IMS_PER_BATCH >= 1 and solver.IMS_PER_BATCH % max(per_step, 1) == 0,
            f"must be a positive multiple of SOLVER.ACCUMULATION_STEPS ({per_step})",
            solver.IMS_PER_BATCH,
        ),
        ("SOLVER.AMP.DTYPE", solver.AMP.DTYPE in ("bf16", "fp16"), 'must be "bf16" or "fp16"', solver.AMP.DTYPE),
        (
            "SOLVER.AMP.DTYPE",
            not (solver.AMP.ENABLED and solver.AMP.DTYPE == "fp16" and cfg.MODEL.DEVICE.startswith("cpu")),
            'must be "bf16" where MODEL.DEVICE is "cpu"',
            solver.AMP.DTYPE,
        ),
        (
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
            solver.CLIP_GRADIENTS.CLIP_TYPE in ("full_model", "norm", "value"),
            'must be "full_model", "norm" or "value"',
            solver.CLIP_GRADIENTS.CLIP_TYPE,
        ),
        ("SOLVER.EMA.DECAY", 0 < solver.EMA.DECAY < 1, "must lie between 0 and 1", solver.EMA.DECAY),
        ("ENGINE.LOG_PERIOD", cfg.ENGINE.LOG_PERIOD >= 1, "must be 1 or more", cfg.ENGINE.LOG_PERIOD),
        ("ENGINE.KEEP_CHECKPOINTS", cfg.ENGINE.KEEP_CHECKPOINTS >= 1, "must be 1 or more", cfg.ENGINE.KEEP_CHECKPOINTS),
        ("SOLVER.CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD >= 1, "must be 1 or more", solver.CHECKPOINT_PERIOD),
    )
    for key, holds, rule, value in rules:
        if not holds:
            raise ValueError(f"{key} {rule}; got {value!r}.")


def add_physseg_config(cfg: CN) -> None:
    """Add physseg's keys and the recipe's defaults to a Detectron2 config, in place."""
    _add_clip(cfg)
    _add_text(cfg)
    _add_appearance(cfg)
    _add_cost_aggregation(cfg)
    _add_losses(cfg)
    _add_structure(cfg)
    _add_input(cfg)
    _add_datasets(cfg)
    _add_solver(cfg)
    _add_engine(cfg)
    _add_test(cfg)
    _add_evaluation(cfg)


def _add_clip(cfg: CN) -> None:
    cfg.MODEL.META_ARCHITECTURE = "PhysSeg"
    # A config made on a machine without a GPU runs there; "cuda", "cuda:1" or "cpu" can be asked for.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    # RGB statistics of CLIP's training images, in 0-255 units (OpenAI CLIP).
    cfg.MODEL.PIXEL_MEAN = [122.7709383, 116.7460125, 104.09373615]
    cfg.MODEL.PIXEL_STD = [68.5005327, 66.6321579, 70.3231630]

    cfg.MODEL.CLIP = CN()
    # open_clip model name. The -quickgelu names are OpenAI's activation.
    cfg.MODEL.CLIP.NAME = "ViT-B-16-quickgelu"
    # open_clip tag, path of a local file (.pt, .pth, .bin, .safetensors), "toy" (shipped), or "" (random).
    cfg.MODEL.CLIP.PRETRAINED = "openai"
    # Side in pixels of the square the encoder sees; the token grid is this over the patch size.
    cfg.MODEL.CLIP.IMAGE_SIZE = 384
    # Two 0-based block indices whose patch tokens become guidance; empty: those at one and two thirds of the depth.
    cfg.MODEL.CLIP.LEVELS = []
    # Which CLIP weights train: "attention" (q and v projections, visual and text), "attention_and_positions" (every
    # weight and bias of attention, and the positional embedding: CAT-Seg of 2023), "blocks" (the transformer blocks:
    # what CAT-Seg calls full), "full" (everything), "frozen".
    cfg.MODEL.CLIP.FINETUNE = "attention"
    # False freezes the text encoder whatever FINETUNE says: text features are then computed once, not every step.
    cfg.MODEL.CLIP.FINETUNE_TEXT = True
    # Recompute CLIP's image blocks in the backward pass: less memory, about a tenth more time.
    cfg.MODEL.CLIP.RECOMPUTE = False

    cfg.MODEL.DENSE = CN()
    # The last image block's dense path: "catseg" adds the CLS token's input to every token (CAT-Seg, CVPR 2024),
    # "maskclip" each token's own (CAT-Seg of 2023).
    cfg.MODEL.DENSE.METHOD = "catseg"


def _add_text(cfg: CN) -> None:
    cfg.MODEL.TEXT = CN()
    # Prompt templates: strings with one {}, or the sets "imagenet_select" (8) and "imagenet" (80).
    cfg.MODEL.TEXT.TEMPLATES = ["A photo of a {} in the scene"]
    # A name such as "building, edifice": "first" prompts its first synonym (CAT-Seg), "average" all of them.
    cfg.MODEL.TEXT.SYNONYMS = "first"
    # Vocabulary when an input carries none: a vocabulary's name, or a text file with one name per line;
    # empty: the vocabulary of DATASETS.TRAIN.
    cfg.MODEL.TEXT.VOCABULARY = ""


def _add_appearance(cfg: CN) -> None:
    # Where guidance comes from: "clip", its own levels (CAT-Seg of CVPR 2024), or "backbone", an appearance backbone
    # of Detectron2's registry, MODEL.BACKBONE.NAME (CAT-Seg of 2023, the paper's baseline).
    cfg.MODEL.GUIDANCE = "clip"
    cfg.MODEL.APPEARANCE = CN()
    # Side in pixels of the square that the backbone sees; must be 16 times CLIP's token grid.
    cfg.MODEL.APPEARANCE.IMAGE_SIZE = 384
    # RGB statistics of ImageNet in 0-255 units, which Swin and torchvision's ResNets were trained with.
    cfg.MODEL.APPEARANCE.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.APPEARANCE.PIXEL_STD = [58.395, 57.12, 57.375]
    # Local file of weights under the backbone's own names, for a ResNet Detectron2's R-101.pkl; empty: as built.
    cfg.MODEL.APPEARANCE.WEIGHTS = ""

    cfg.MODEL.SWIN = CN()
    # timm model that "build_timm_swin_backbone" builds.
    cfg.MODEL.SWIN.NAME = "swin_base_patch4_window12_384"
    # timm tag, local file, or "" (random). ImageNet-22k is what CAT-Seg started from.
    cfg.MODEL.SWIN.PRETRAINED = "ms_in22k"


def _add_cost_aggregation(cfg: CN) -> None:
    cfg.MODEL.AGGREGATION = CN()
    cfg.MODEL.AGGREGATION.LAYERS = 2
    cfg.MODEL.AGGREGATION.DIM = 128
    cfg.MODEL.AGGREGATION.GUIDANCE_DIM = 128
    cfg.MODEL.AGGREGATION.HEADS = 4
    # Side of a Swin window in tokens; must divide the token grid.
    cfg.MODEL.AGGREGATION.WINDOW = 12
    # Class attention works on a grid pooled by this in training; TEST.POOLING holds at test.
    cfg.MODEL.AGGREGATION.POOLING = [2, 2]
    # Class attention pads to this many tokens (CAT-Seg); more classes than this keep the likeliest ones.
    cfg.MODEL.AGGREGATION.MAX_CLASSES = 256
    # Channels of the two guidance maps after upsampling and after their projection, coarse first.
    cfg.MODEL.AGGREGATION.UPSAMPLED_DIMS = [256, 128]
    cfg.MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS = [32, 16]
    # Channels after each of the decoder's two upsamplings.
    cfg.MODEL.AGGREGATION.DECODER_DIMS = [64, 32]
    # Class maps (one class of one image) worked on at a time: bounds memory, changes no number. 0: for a 24x24 grid
    # 8 on a CPU and 256 on a GPU.
    cfg.MODEL.AGGREGATION.CLASS_CHUNK = 0
    # Recompute all of cost aggregation in the backward pass, not only its linear layers: about half the memory of a
    # training step, a tenth more time.
    cfg.MODEL.AGGREGATION.RECOMPUTE = False


def _add_losses(cfg: CN) -> None:
    # Label value that marks unlabelled pixels in the maps the model receives; must not be a class index.
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 255
    cfg.MODEL.LOSS = CN()
    # "zero_target": an ignored pixel counts with an all-zero target (CAT-Seg); "masked": it does not count.
    cfg.MODEL.LOSS.IGNORED_PIXELS = "zero_target"

    # Weighted patch-level alignment, L_sac (eq. 2-3).
    cfg.MODEL.PATCH_ALIGNMENT = CN()
    cfg.MODEL.PATCH_ALIGNMENT.ENABLED = False
    # lambda_sac of eq. 4.
    cfg.MODEL.PATCH_ALIGNMENT.WEIGHT = 1.0
    # Channels after the projections o_image and o_text; 0: as many as CLIP's text features.
    cfg.MODEL.PATCH_ALIGNMENT.DIM = 0
    # Initial tau; learnt from there on, never below 0.01 (both as CLIP).
    cfg.MODEL.PATCH_ALIGNMENT.TEMPERATURE = 0.07
    # "neg_log": eq. 3 with the missing -log; "soft_cross_entropy": -sum w log p.
    cfg.MODEL.PATCH_ALIGNMENT.FORM = "neg_log"
    # Classes in the softmax: the whole "vocabulary", or those "present" in the batch.
    cfg.MODEL.PATCH_ALIGNMENT.NEGATIVES = "vocabulary"


def _add_structure(cfg: CN) -> None:
    # Physical structure regularisation, L_p (sec. 3.1).
    cfg.MODEL.STRUCTURE = CN()
    cfg.MODEL.STRUCTURE.ENABLED = False
    # lambda_p of eq. 4.
    cfg.MODEL.STRUCTURE.WEIGHT = 1.0
    # Pseudo ground truths, one output channel each: any of "canny", "sift", "superpoint", "edge_gt".
    cfg.MODEL.STRUCTURE.SOURCES = ["canny"]

    # Structure head. Levels, coarse and deep first: the encoder's last word, its middle, and the two guidance maps,
    # which bring the grid to a quarter of the image's side. Any of "level1", "level2", "dense", "g3", "g4", "g5".
    cfg.MODEL.STRUCTURE.LEVELS = ["dense", "level2", "g4", "g5"]
    # Channels of every level after its 1x1 convolution (the paper's 256).
    cfg.MODEL.STRUCTURE.DIM = 256
    # Normalisation in the Refine modules: "GN" (does not depend on the batch, 1 image per GPU), "LN", "BN", "SyncBN".
    cfg.MODEL.STRUCTURE.NORM = "GN"
    # Side of the output grid; 0: that of the finest level.
    cfg.MODEL.STRUCTURE.OUTPUT_SIZE = 0
    # Iterations between TensorBoard pictures of image, pseudo ground truth and estimate; 0: none.
    cfg.MODEL.STRUCTURE.PICTURE_PERIOD = 1000

    # Sources read from files instead of computed on the crop, and the folder that tools/make_structure_labels.py wrote.
    cfg.MODEL.STRUCTURE.MAPS_SOURCES = []
    cfg.MODEL.STRUCTURE.MAPS_ROOT = ""

    cfg.MODEL.STRUCTURE.CANNY = CN()
    # Low and high threshold on the gradient of the 0-255 grey image.
    cfg.MODEL.STRUCTURE.CANNY.THRESHOLDS = [50.0, 150.0]
    # s > 0: thresholds (1 - s) and (1 + s) times the image's median instead (0.33 is customary).
    cfg.MODEL.STRUCTURE.CANNY.MEDIAN_SPREAD = 0.0
    # Gaussian blur before the gradient, in pixels: less texture, fewer JPEG edges; 0: none.
    cfg.MODEL.STRUCTURE.CANNY.SIGMA = 1.0

    cfg.MODEL.STRUCTURE.SIFT = CN()
    # Least contrast of a keypoint, in 0-1 grey units; OpenCV finds none below 0.013.
    cfg.MODEL.STRUCTURE.SIFT.MIN_RESPONSE = 0.02
    # Diameter of a keypoint in pixels: large ones are whole regions, not local structure.
    cfg.MODEL.STRUCTURE.SIFT.MIN_SIZE = 2.0
    cfg.MODEL.STRUCTURE.SIFT.MAX_SIZE = 32.0
    # Radius of the disc drawn at a keypoint, in pixels.
    cfg.MODEL.STRUCTURE.SIFT.RADIUS = 2

    cfg.MODEL.STRUCTURE.SUPERPOINT = CN()
    # Model hub id or local folder; needs the extra "superpoint".
    cfg.MODEL.STRUCTURE.SUPERPOINT.WEIGHTS = "magic-leap-community/superpoint"
    # Least keypoint score (the published model's own default).
    cfg.MODEL.STRUCTURE.SUPERPOINT.THRESHOLD = 0.005
    cfg.MODEL.STRUCTURE.SUPERPOINT.RADIUS = 2

    cfg.MODEL.STRUCTURE.EDGE_GT = CN()
    # Pixels marked on each side of a boundary.
    cfg.MODEL.STRUCTURE.EDGE_GT.HALF_WIDTH = 1


def _add_input(cfg: CN) -> None:
    cfg.INPUT.FORMAT = "RGB"
    # CAT-Seg's recipe: short side to 384, a crop of 384, colours, flip.
    cfg.INPUT.MIN_SIZE_TRAIN = (384,)
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
    cfg.INPUT.MAX_SIZE_TRAIN = 2560
    cfg.INPUT.MIN_SIZE_TEST = 640
    cfg.INPUT.MAX_SIZE_TEST = 2560
    cfg.INPUT.CROP.ENABLED = True
    # "absolute" crops are padded to INPUT.CROP.SIZE: the image with 128, labels with the ignore value.
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [384, 384]
    # Below 1: a crop is drawn again (up to 10 times) while one class fills more than this share of it.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Brightness, contrast, saturation and hue as in SSD.
    cfg.INPUT.COLOR_AUG_SSD = True
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    # True replaces a training image that cannot be read by another and counts it; False stops and names it.
    cfg.DATALOADER.SKIP_BROKEN = False


def _add_datasets(cfg: CN) -> None:
    cfg.DATASETS.TRAIN = ("coco_2017_train_stuff_all_sem_seg",)
    cfg.DATASETS.TEST = (
        "ade20k_full_sem_seg_freq_val_all",
        "context_459_test_sem_seg",
        "ade20k_150_test_sem_seg",
        "context_59_test_sem_seg",
        "voc_2012_test_sem_seg",
        "voc_2012_test_background_sem_seg",
    )
    # One's own data: a list of {name, images, labels, classes, ...} or of files holding that (docs/own_data.md).
    cfg.DATASETS.CUSTOM = []
    # True runs on what there is of a benchmark whose image count is not the expected one, with a warning.
    cfg.DATASETS.ALLOW_PARTIAL = False


def _add_solver(cfg: CN) -> None:
    # One seed drives weights, data order and augmentation; -1 (Detectron2's "any") is refused.
    cfg.SEED = 0
    # The recipe of the paper's sec. 4.2.1, over CAT-Seg's. The batch is the one over all processes.
    cfg.SOLVER.IMS_PER_BATCH = 4
    # Parts a process splits its batch into, one backward pass each: less memory, same update.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    cfg.SOLVER.MAX_ITER = 80000
    cfg.SOLVER.BASE_LR = 2e-4
    # CLIP's learning rate is this times BASE_LR.
    cfg.SOLVER.CLIP_MULTIPLIER = 0.01
    # The same for an appearance backbone; neither paper states it: what holds for CLIP, pre-trained as well.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.01
    cfg.SOLVER.WEIGHT_DECAY = 1e-4
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WARMUP_FACTOR = 1.0
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    # "full_model": one norm over all parameters. Detectron2's own types clip tensor by tensor.
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = 2.0
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    # Mixed precision: "bf16", or "fp16" with loss scaling (GPU only). SOLVER.AMP.ENABLED turns it on.
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # Running average of the trained weights; where on, evaluation and MODEL.WEIGHTS use it.
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    cfg.SOLVER.EMA.DECAY = 0.9998


def _add_engine(cfg: CN) -> None:
    cfg.ENGINE = CN()
    # Only deterministic algorithms, where PyTorch has one; it warns where it has none. Slower on GPU.
    cfg.ENGINE.DETERMINISTIC = False
    # torch.compile the hot path, in training and at test: minutes at the start, and a C++ compiler is needed.
    cfg.ENGINE.COMPILE = False
    # Convolution weights in channels-last order: faster with AMP on recent GPUs.
    cfg.ENGINE.CHANNELS_LAST = False
    # Newest checkpoints to keep; the best and the final one stay besides.
    cfg.ENGINE.KEEP_CHECKPOINTS = 2
    # Iterations between two lines of console, JSON and TensorBoard.
    cfg.ENGINE.LOG_PERIOD = 20
    # Weights & Biases, where the wandb package is installed: True, and the project's name.
    cfg.ENGINE.WANDB = CN()
    cfg.ENGINE.WANDB.ENABLED = False
    cfg.ENGINE.WANDB.PROJECT = "physseg"


def _add_test(cfg: CN) -> None:
    cfg.TEST.EVAL_PERIOD = 0
    # What model_best.pth is the best by: "mean_<metric>" over DATASETS.TEST, or "<data set>/<metric>" of one of them;
    # metrics: mIoU, mIoU_old, fwIoU, mACC, pACC, and boundary_IoU where TEST.BOUNDARY_IOU is on.
    cfg.TEST.BEST_METRIC = "mean_mIoU"
    # CAT-Seg's key: four overlapping crops and the whole image instead of the whole image alone.
    cfg.TEST.SLIDING_WINDOW = False
    # Class attention's pooling at test, whatever training used.
    cfg.TEST.POOLING = [1, 1]
    # Side in pixels of a sliding-window crop, their stride, and of the square the image is squashed to.
    cfg.TEST.WINDOW_SIZE = 384
    cfg.TEST.WINDOW_STRIDE = 256
    cfg.TEST.WINDOW_CANVAS = 640
    # True keeps the aspect ratio in sliding-window inference (CAT-Seg squashes to a square).
    cfg.TEST.KEEP_ASPECT = False
    # True removes the padded border before the prediction is resized (CAT-Seg does not).
    cfg.TEST.CROP_PADDING = False


def _add_evaluation(cfg: CN) -> None:
    # True adds Boundary IoU (Cheng et al. 2021): no part of the published tables, and it costs time.
    cfg.TEST.BOUNDARY_IOU = False
    # Its distance as a fraction of the image diagonal (0.02 in that paper).
    cfg.TEST.BOUNDARY_DILATION = 0.02
    # A benchmark's class counts as seen by text similarity from this cosine to its nearest training class on.
    cfg.TEST.SEEN_SIMILARITY = 0.95
    # Images per forward pass and process in evaluation.
    cfg.TEST.BATCH_SIZE = 1
