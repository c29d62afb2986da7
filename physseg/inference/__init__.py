"""Segmenting one's own pictures: predictor, files, video, dense features, export."""
