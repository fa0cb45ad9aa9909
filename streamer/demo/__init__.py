"""The bundled demo: a clip, its ground truth, and a small checkpoint that knows it."""
