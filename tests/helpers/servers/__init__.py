"""Cameras for tests: real servers on loopback, with faults on demand."""
