"""Segmentation learnt without masks, from image-caption pairs or from images alone (docs/without_masks.md)."""
