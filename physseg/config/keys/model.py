"""Keys of the model: CLIP, text, guidance, cost aggregation."""

import torch

from physseg.config.key import Area, Key
from physseg.config.names import backbones, clip_models, meta_architectures
from physseg.config.rules import Bool, Choice, Float, Int, Known, List, Text
from physseg.config.special_rules import DENSE_METHODS, Device, Template

_FINETUNE = Choice("attention", "attention_and_positions", "blocks", "all_but_embeddings", "full", "frozen")

# fmt: off
CLIP = Area("CLIP", "The model, and the encoder it is built on.", (
    Key("MODEL.META_ARCHITECTURE", "PhysSeg", Known("a registered meta-architecture", meta_architectures),
        "The paper's model and its baseline are one class, the additions switched on or off; ClipSegmenter is "
        "segmentation from CLIP alone."),
    Key("MODEL.DEVICE", "cuda" if torch.cuda.is_available() else "cpu", Device(),
        "A config made on a machine without a GPU runs there.", shown='"cuda" with a GPU, else "cpu"'),
    Key("MODEL.WEIGHTS", "", Text(empty=True),
        "A physseg checkpoint to start from or to predict with; it holds CLIP's weights too."),
    Key("MODEL.PIXEL_MEAN", [122.7709383, 116.7460125, 104.09373615], List(Float(0, 255), 3, 3),
        "RGB mean of CLIP's training images, in 0-255 units. Where nothing sets it, that of MODEL.CLIP.NAME and "
        "PRETRAINED."),
    Key("MODEL.PIXEL_STD", [68.5005327, 66.6321579, 70.3231630], List(Float(1e-3, 255), 3, 3),
        "Their standard deviation, likewise."),
    Key("MODEL.CLIP.NAME", "ViT-B-16-quickgelu", Known("a model that open_clip lists", clip_models),
        "open_clip model name. The -quickgelu names are OpenAI's activation."),
    Key("MODEL.CLIP.PRETRAINED", "openai", Text(empty=True),
        'open_clip tag, path of a local file (.pt, .pth, .bin, .safetensors), "toy" or '
        '"toy-contrastive" (shipped, docs/toy_world.md), or "" (random).'),
    Key("MODEL.CLIP.IMAGE_SIZE", 384, Int(1, 8192),
        "Side in pixels of the square the encoder sees; the token grid is this over the patch size."),
    Key("MODEL.CLIP.RESIZE_POSITIONS", "each_forward", Choice("each_forward", "once"),
        'Positional embedding of another grid: "each_forward" stores it as it is and resizes it each time (CAT-Seg), '
        '"once" resizes it with antialiasing when CLIP\'s weights are read (CAT-Seg of 2023 with ViT-H/14).'),
    Key("MODEL.CLIP.LEVELS", [], List(Int(0, 1000), most=2, rising=True),
        "Two 0-based block indices whose patch tokens become guidance; empty: those at one and two thirds of the "
        "depth."),
    Key("MODEL.CLIP.FINETUNE", "attention", _FINETUNE,
        'Which CLIP weights train: "attention" (q and v projections, visual and text), "attention_and_positions" '
        '(every weight and bias of attention, and the positional embedding: CAT-Seg of 2023), "blocks" (the '
        'transformer blocks: what CAT-Seg calls full), "all_but_embeddings" (all after the tokens: SegCLIP), "full" '
        '(everything), "frozen".'),
    Key("MODEL.CLIP.FINETUNE_TEXT", True, Bool(),
        "False freezes the text encoder whatever FINETUNE says: text features are then computed once, not every step."),
    Key("MODEL.CLIP.RECOMPUTE", False, Bool(),
        "Recompute CLIP's image blocks in the backward pass: less memory, about a tenth more time."),
    Key("MODEL.DENSE.METHOD", "catseg", Choice(*DENSE_METHODS),
        'The last image block\'s dense path: "catseg" adds the CLS token\'s input to every token (CAT-Seg, CVPR 2024), '
        '"maskclip" each token\'s own (CAT-Seg of 2023). The others are of ClipSegmenter alone (docs/clip_alone.md).'),
))

TEXT = Area("Text", "From class names to prompts.", (
    Key("MODEL.TEXT.TEMPLATES", ["A photo of a {} in the scene"], List(Template(), least=1),
        'Prompt templates: strings with one {}, or the sets "single" (the default), "imagenet_select" (8) and '
        '"imagenet" (80).'),
    Key("MODEL.TEXT.SYNONYMS", "first", Choice("first", "average", "max"),
        'A name such as "building, edifice": "first" prompts its first synonym (CAT-Seg), "average" all of them: '
        'the mean of their features, template by template (CAT-Seg of 2023); "max" (ClipSegmenter alone) scores each '
        "and takes the best."),
    Key("MODEL.TEXT.VOCABULARY", "", Text(empty=True),
        "Vocabulary when an input carries none: a vocabulary's name, or a text file with one name per line; empty: "
        "the vocabulary of DATASETS.TRAIN."),
))

APPEARANCE = Area("Guidance and appearance backbone", "What guides cost aggregation and decoder.", (
    Key("MODEL.GUIDANCE", "clip", Choice("clip", "backbone"),
        'Where guidance comes from: "clip", its own levels (CAT-Seg of CVPR 2024), or "backbone", an appearance '
        "backbone of Detectron2's registry (CAT-Seg of 2023, the paper's baseline)."),
    Key("MODEL.BACKBONE.NAME", "build_resnet_backbone", Known("a backbone in Detectron2's registry", backbones),
        'The appearance backbone where GUIDANCE is "backbone"; "build_timm_swin_backbone" is the published one.'),
    Key("MODEL.APPEARANCE.IMAGE_SIZE", 384, Int(1, 8192),
        "Side in pixels of the square that the backbone sees; must be 16 times CLIP's token grid."),
    Key("MODEL.APPEARANCE.PIXEL_MEAN", [123.675, 116.28, 103.53], List(Float(0, 255), 3, 3),
        "RGB mean of ImageNet in 0-255 units, which Swin and torchvision's ResNets were trained with."),
    Key("MODEL.APPEARANCE.PIXEL_STD", [58.395, 57.12, 57.375], List(Float(1e-3, 255), 3, 3),
        "Its standard deviation."),
    Key("MODEL.APPEARANCE.WEIGHTS", "", Text(empty=True),
        "File of weights under the backbone's own names, local or of Detectron2's model zoo (detectron2://...), for a "
        "ResNet Detectron2's R-101.pkl; empty: as built."),
    Key("MODEL.APPEARANCE.FROZEN", False, Bool(),
        "The backbone does not train, and its gradients are no part of the clipped norm (Swin in CAT-Seg of 2023)."),
    Key("MODEL.TIMM.NAME", "vit_base_patch16_dinov3", Text(),
        'timm model that "build_timm_backbone" builds: a hierarchical one, or a plain ViT.'),
    Key("MODEL.TIMM.PRETRAINED", "lvd1689m", Text(empty=True), 'timm tag, local file, or "" (random).'),
    Key("MODEL.SWIN.NAME", "swin_base_patch4_window12_384", Text(),
        'timm model that "build_timm_swin_backbone" builds.'),
    Key("MODEL.SWIN.PRETRAINED", "ms_in22k", Text(empty=True),
        'timm tag, local file, or "" (random). ImageNet-22k is what CAT-Seg started from.'),
    Key("MODEL.SWIN.DROP_PATH", 0.3, Float(0, below=1),
        "Stochastic depth in training, rising to this rate at the last block; on in a frozen Swin too (CAT-Seg of "
        "2023)."),
))

AGGREGATION = Area("Cost aggregation", "From the cost volume to logits. The numbers are CAT-Seg's.", (
    Key("MODEL.AGGREGATION.LAYERS", 2, Int(1, 100), "Spatial and class aggregation, in turns, this often."),
    Key("MODEL.AGGREGATION.DIM", 128, Int(1, 8192), "Channels of a token."),
    Key("MODEL.AGGREGATION.GUIDANCE_DIM", 128, Int(1, 8192), "Channels of image and text guidance."),
    Key("MODEL.AGGREGATION.HEADS", 4, Int(1, 1024), "Attention heads; must divide DIM."),
    Key("MODEL.AGGREGATION.WINDOW", 12, Int(1, 1024), "Side of a Swin window in tokens; must divide the token grid."),
    Key("MODEL.AGGREGATION.POOLING", [2, 2], List(Int(1, 1024), 2, 2),
        "Class attention works on a grid pooled by this in training; TEST.POOLING holds at test."),
    Key("MODEL.AGGREGATION.MAX_CLASSES", 256, Int(0, 100_000),
        "Class attention pads to this many tokens, and of more classes the likeliest are kept (CAT-Seg, CVPR 2024). 0: "
        "no padding, and all classes together however many (CAT-Seg of 2023)."),
    Key("MODEL.AGGREGATION.SAMPLE_CLASSES", 0, Int(0, 100_000),
        "K > 0: in training an image goes through aggregation with K classes, those its labels show and the likeliest "
        "others, for less time and memory; test is as ever. 0: all."),
    Key("MODEL.AGGREGATION.UPSAMPLED_DIMS", [256, 128], List(Int(1, 8192), 2, 2),
        "Channels of the two guidance maps after upsampling, coarse first."),
    Key("MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS", [32, 16], List(Int(1, 8192), 2, 2),
        "Channels of the two guidance maps after their projection, coarse first."),
    Key("MODEL.AGGREGATION.DECODER_DIMS", [64, 32], List(Int(1, 8192), 2, 2),
        "Channels after each of the decoder's two upsamplings; GroupNorm has one group for every 16."),
    Key("MODEL.AGGREGATION.CLASS_CHUNK", 0, Int(0),
        "Class maps (one class of one image) worked on at a time: bounds memory, changes no number. 0: for a 24x24 "
        "grid 8 on a CPU and 256 on a GPU."),
    Key("MODEL.AGGREGATION.RECOMPUTE", False, Bool(),
        "Recompute all of cost aggregation in the backward pass, not only its linear layers: about half the memory of "
        "a training step, a tenth more time."),
))
