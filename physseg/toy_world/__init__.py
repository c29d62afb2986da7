"""A procedural open-vocabulary world in the raw formats of the real datasets, and a small CLIP that knows its names."""
