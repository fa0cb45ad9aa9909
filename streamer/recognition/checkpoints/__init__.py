"""A checkpoint on disk or on the Hub, and what its JSON files say. No torch here."""
