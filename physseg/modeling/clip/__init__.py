"""CLIP as an encoder of dense features and of names."""
