"""Keys of training: solver and engine."""

from physseg.config.key import Area, Key
from physseg.config.rules import Bool, Choice, Float, Int, List, Only, Text

_MULTIPLIER = Float(0, 1e6)
_DECAY = Float(0, 1e3)

# fmt: off
SOLVER = Area("Solver", "The recipe of the paper's sec. 4.2.1, over CAT-Seg's.", (
    Key("SEED", 0, Int(),
        "One seed drives weights, data order and augmentation; -1 (Detectron2's \"any\") is refused."),
    Key("SOLVER.IMS_PER_BATCH", 4, Int(1, 1_000_000), "The batch over all processes."),
    Key("SOLVER.ACCUMULATION_STEPS", 1, Int(1, 1_000_000),
        "Parts a process splits its batch into, one backward pass each: less memory, same update."),
    Key("SOLVER.REFERENCE_WORLD_SIZE", 0, Int(0, 100_000),
        "Processes this config is meant for; for others Detectron2 scales batch, rate and iterations. 0: off."),
    Key("SOLVER.MAX_ITER", 80000, Int(1), "Iterations."),
    Key("SOLVER.BASE_LR", 2e-4, Float(above=0, most=1e3), "Learning rate of the head."),
    Key("SOLVER.BASE_LR_END", 0.0, Float(0, 1e3), "Where WarmupCosineLR ends."),
    Key("SOLVER.CLIP_MULTIPLIER", 0.01, _MULTIPLIER, "CLIP's learning rate is this times BASE_LR."),
    Key("SOLVER.BACKBONE_MULTIPLIER", 0.01, Float(above=0, most=1e6),
        "The same for an appearance backbone that trains (CAT-Seg of 2023 with ResNet-101); MODEL.APPEARANCE.FROZEN "
        "freezes it."),
    Key("SOLVER.WEIGHT_DECAY", 1e-4, _DECAY, "AdamW's."),
    Key("SOLVER.BETAS", [0.9, 0.999], List(Float(0, below=1), 2, 2), "AdamW's, of the gradient and of its square."),
    Key("SOLVER.EPS", 1e-8, Float(above=0, most=1), "AdamW's."),
    Key("SOLVER.WEIGHT_DECAY_NORM", 0.0, _DECAY, "The same for normalisation layers."),
    Key("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", Choice("WarmupCosineLR", "WarmupMultiStepLR"),
        "One of Detectron2's."),
    Key("SOLVER.STEPS", (30000,), List(Int(1), rising=True), "Iterations after which WarmupMultiStepLR steps down."),
    Key("SOLVER.GAMMA", 0.1, Float(above=0, most=1), "By this factor."),
    Key("SOLVER.WARMUP_ITERS", 0, Int(), "Iterations of warm-up."),
    Key("SOLVER.WARMUP_FACTOR", 1.0, Float(0, 1), "Where warm-up starts, as a share of the learning rate."),
    Key("SOLVER.WARMUP_METHOD", "linear", Choice("linear", "constant"), "How it goes on."),
    Key("SOLVER.CLIP_GRADIENTS.ENABLED", True, Bool(), "Clip gradients."),
    Key("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", Choice("full_model", "norm", "value"),
        '"full_model": one norm over all parameters. Detectron2\'s own types clip tensor by tensor.'),
    Key("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01, Float(above=0, most=1e9), "The bound."),
    Key("SOLVER.CLIP_GRADIENTS.NORM_TYPE", 2.0, Float(1, 4, infinite=True),
        "p of the norm. Higher powers underflow."),
    Key("SOLVER.CHECKPOINT_PERIOD", 5000, Int(1), "Iterations between checkpoints."),
    Key("SOLVER.AMP.ENABLED", False, Bool(), "Mixed precision."),
    Key("SOLVER.AMP.DTYPE", "bf16", Choice("bf16", "fp16"), '"fp16" scales the loss and needs a GPU.'),
    Key("SOLVER.EMA.ENABLED", False, Bool(),
        "Running average of the trained weights; where on, evaluation and MODEL.WEIGHTS use it."),
    Key("SOLVER.EMA.DECAY", 0.9998, Float(above=0, below=1), "Share of the old average that stays at each iteration."),
    Key("SOLVER.LOSS_BALANCE.METHOD", "weights", Choice("weights", "gradient_share"),
        'What WEIGHT of the two losses means. "weights": lambda of eq. 4, the loss times it; "gradient_share": how '
        "strong the loss's gradient is beside L_seg's, on the weights that both reach."),
    Key("SOLVER.LOSS_BALANCE.PERIOD", 10, Int(1),
        "Iterations between two measurements for it; one costs about a second backward pass."),
    Key("SOLVER.LOSS_BALANCE.DECAY", 0.9, Float(0, below=1), "Of the measurements' running averages."),
))

ENGINE = Area("Engine", "How a run goes, and what it leaves behind.", (
    Key("OUTPUT_DIR", "./output", Text(), "Folder of checkpoints, logs and results."),
    Key("VERSION", 2, Only(2), "Of Detectron2's config format."),
    Key("CUDNN_BENCHMARK", False, Bool(), "Let cuDNN try its algorithms: faster where images are of one size."),
    Key("ENGINE.FLOAT32_MATMUL", "highest", Choice("highest", "high", "medium"),
        'Precision of float32 products on a CUDA GPU: "high" is TF32, several times faster (CAT-Seg), "highest" is '
        "float32. A CPU always takes float32."),
    Key("ENGINE.DETERMINISTIC", False, Bool(),
        "Only deterministic algorithms, where PyTorch has one; it warns where it has none. Slower on GPU."),
    Key("ENGINE.COMPILE", False, Bool(),
        "torch.compile the hot path, in training and at test: minutes at the start, and a C++ compiler is needed."),
    Key("ENGINE.CHANNELS_LAST", False, Bool(),
        "Convolution weights in channels-last order: faster with AMP on recent GPUs."),
    Key("ENGINE.KEEP_CHECKPOINTS", 2, Int(1, 100_000),
        "Newest checkpoints to keep; the best and the final one stay besides."),
    Key("ENGINE.LOG_PERIOD", 20, Int(1), "Iterations between two lines of console, JSON and TensorBoard."),
    Key("ENGINE.GRADIENT_PERIOD", 0, Int(),
        "Iterations between two logs of each loss's gradient: norms in CLIP, guidance and head, cosines with L_seg's. "
        "Such an iteration costs about a second backward pass; 0: none."),
    Key("ENGINE.WANDB.ENABLED", False, Bool(), "Log to Weights & Biases, where the wandb package is installed."),
    Key("ENGINE.WANDB.PROJECT", "physseg", Text(most=128), "The project's name there."),
))
