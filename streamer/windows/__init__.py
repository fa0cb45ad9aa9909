"""Which frames make a window: the ring of a camera's newest frames, and frames chosen from it by time."""
