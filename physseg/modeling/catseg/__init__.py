"""CAT-Seg: cost volume, aggregation, decoder, guidance, and the names of its published checkpoints."""
