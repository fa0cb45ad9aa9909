"""Programs that follow the bus: speech, captions, the page, MQTT and webhooks.

Each is a process of its own beside the run, a subscriber like any other: it can neither slow nor stop what it
listens to. The publisher's history is the queue: a subscriber whose receiver is away stops reading, and later
goes on behind the last event that was accepted.
"""
