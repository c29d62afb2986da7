"""The stages: CLIP encoder, cost volume, aggregation, decoder, structure head, and the meta-architecture."""
