"""Analyses of the paper: how far vocabularies are from training's (table 1), and what limits the score (figure 1)."""
