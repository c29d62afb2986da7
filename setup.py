"""Package of physseg. Detectron2 is not among the requirements: it has no release on PyPI (docs/installation.md)."""

from pathlib import Path

from setuptools import find_packages, setup

# Ranges, so that an environment's own torch stays; nothing here may ask for a newer torch than the first line does.
# Tried with the oldest of these on Python 3.10, and with constraints.txt, which `make` installs.
REQUIRES = [
    "torch>=2.4",
    "torchvision>=0.19",
    "open_clip_torch>=3.0,<4",
    "timm>=1.0.17",
    "opencv-python-headless>=4.5",
    "fvcore>=0.1.5",
    "numpy>=1.24",
    "scipy>=1.10",
    "Pillow>=9.1",
    "PyYAML>=5.1",
    "pycocotools>=2.0.6",
    "matplotlib>=3.6",
    # The report's page.
    "Jinja2>=3.0",
    "MarkupSafe>=2.0",
    "safetensors>=0.4.1",
    "tqdm>=4.60",
    # Published checkpoints by name.
    "huggingface_hub>=0.23",
    "filelock>=3.12",
]
EXTRAS = {
    # SuperPoint keypoints as pseudo ground truth; before 4.47 they came in pixels, not as shares of the image.
    "superpoint": ["transformers>=4.47"],
    # Canny and Sobel in batches on the model's device, as pseudo ground truth.
    "kornia": ["kornia>=0.9"],
    # SegCLIP's superpixels, in training.
    "superpixels": ["scikit-image>=0.20"],
    # Captions in webdataset tars.
    "pairs": ["webdataset>=0.2.86"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.1"],
    # Curves on a tracking server.
    "wandb": ["wandb>=0.16"],
    # GeoTIFF, pictures read by windows, polygons.
    "geo": ["rasterio>=1.3"],
    # The page of `physseg serve`.
    "web": ["gradio>=6.0", "starlette>=0.40"],
    # Training over several nodes.
    "slurm": ["submitit>=1.5"],
    "dev": [
        "pytest>=9",
        "pytest-timeout>=2.3",
        # Rather than pytest-xdist: random order finds what tests leave behind for each other, and a small machine has
        # no cores to spare for tests side by side.
        "pytest-randomly>=4",
        "psutil>=5.9",
        "ruff>=0.9",
        "scikit-image>=0.20",
        "scikit-learn>=1.2",
        # Clicks through the web page in an installed Chromium.
        "playwright>=1.40",
    ],
}
# Endings of what lies beside the code.
DATA_FILES = ("tsv", "json", "jsonl", "txt", "npz", "safetensors", "html", "css", "js", "j2")

setup(
    name="physseg",
    version="0.1.0",
    description="Open-vocabulary semantic segmentation with physical structure and patch alignment losses",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The physseg developers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=["physseg", "physseg.*"]), "physseg.configs"],
    py_modules=["physseg_start"],
    entry_points={"console_scripts": ["physseg = physseg_start:command"]},
    package_dir={"physseg.configs": "configs"},
    package_data={
        "physseg.configs": ["**/*.yaml"],
        "physseg": [f"**/*.{ending}" for ending in DATA_FILES],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
