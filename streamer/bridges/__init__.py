"""Bridges to other systems: MQTT with Home Assistant discovery, and webhooks.

Each is a program of its own beside the pipeline, a subscriber like any other: it can neither slow nor stop
what it listens to. The publisher's history is the queue: a bridge whose receiver is away stops reading, and
later goes on behind the last event that was accepted. `place.py` has where that is; `bridge.py` what both
share.
"""
