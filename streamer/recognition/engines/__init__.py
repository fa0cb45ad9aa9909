"""Ways to compute a model: torch with packed weights, torch on a GPU, OpenVINO."""
