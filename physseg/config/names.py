"""Names that libraries and registries list. They are asked when a config is checked, not when this is imported."""

from collections.abc import Collection


def clip_models() -> Collection[str]:
    """open_clip's model names and "physseg-toy"."""
    import open_clip

    from physseg.toy_world.clip import register_toy_clip

    register_toy_clip()
    return open_clip.list_models()


def meta_architectures() -> Collection[str]:
    """Detectron2's and whatever has been registered besides; importing physseg registers its own."""
    from detectron2.modeling import META_ARCH_REGISTRY

    return [name for name, _ in META_ARCH_REGISTRY]


def is_own_model(name: str) -> bool:
    """Whether a meta-architecture is one of physseg's, which read no key that the table does not list."""
    from detectron2.modeling import META_ARCH_REGISTRY

    return META_ARCH_REGISTRY.get(name).__module__.startswith("physseg.")


def backbones() -> Collection[str]:
    """As `meta_architectures`."""
    from detectron2.modeling import BACKBONE_REGISTRY

    return [name for name, _ in BACKBONE_REGISTRY]
