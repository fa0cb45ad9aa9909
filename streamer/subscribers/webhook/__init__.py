"""Each event to a URL: signed, in order, until the receiver has accepted it."""
