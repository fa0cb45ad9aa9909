"""Builds, starts, watches and stops everything; one lane a model; words that change while it runs."""
