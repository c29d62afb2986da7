"""Keys of PACL: patches learn their names from captions."""

from physseg.config.key import Area, Key
from physseg.config.rules import Float, Int

# fmt: off
PACL = Area("PACL", "Learning from captions: MODEL.META_ARCHITECTURE PACL (docs/without_masks.md); beside these, "
            "MODEL.DENSE.SCALE, INPUT.PAIRS, INPUT.MIN_SIZE_TEST and TEST.SLIDING_WINDOW.", (
    Key("MODEL.PACL.STRIDE", 0, Int(0, 1024),
        "From one patch to the next in training, in pixels; 0: the patch's side."),
    Key("MODEL.PACL.TEST_STRIDE", 4, Int(0, 1024), "The same at test: 4 makes 97x97 tokens of 400x400 pixels."),
    Key("MODEL.PACL.POOLING_TEMPERATURE", 1.0, Float(above=0, most=100),
        "Of the softmax over patches that pools them by their similarity to a text: 1 is nearly the mean, smaller "
        "values pick out patches."),
    Key("MODEL.PACL.TEMPERATURE", 0.07, Float(0.01, 100),
        "Initial tau of InfoNCE; learnt from there on, never below 0.01 (both as CLIP)."),
))
