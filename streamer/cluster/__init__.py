"""Cameras over many machines: a front for subscribers, workers that watch, and who watches what."""
