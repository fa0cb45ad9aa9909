"""From windows to scores: checkpoints, preprocessing, model families, engines and the inference thread.

Importing this package imports no torch; `recognizer.load_recognizer` does.
"""
