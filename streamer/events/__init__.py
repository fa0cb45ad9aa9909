"""From noisy scores per window to events with a start and an end. Pure: no threads, no clock."""
