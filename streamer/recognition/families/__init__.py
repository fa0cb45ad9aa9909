"""The model families: recognizers of windows and of single frames, and TimeSformer's own forward."""
