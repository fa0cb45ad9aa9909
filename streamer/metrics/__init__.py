"""How the running program is doing: what the stages report, health, Prometheus and systemd.

`Counters` is what the stages report to; `Stats` is made of it when somebody looks, and is all that screen,
health, Prometheus and systemd know.
"""
