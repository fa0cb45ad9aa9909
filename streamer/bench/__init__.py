"""`streamer bench`: how fast a model runs here, next to transformers' own way, on the same frames."""
