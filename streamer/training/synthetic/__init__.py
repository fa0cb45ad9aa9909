"""What draws the demo's data, and the recipe that trains the demo's checkpoint on it."""
