"""Cameras over many machines: a front that subscribers connect to, workers that watch, and who watches what."""
