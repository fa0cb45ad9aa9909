"""How the running program is doing: numbers of now, totals, health, Prometheus and systemd.

All of it pulls: the pipeline counts anyway and is asked only when somebody looks.
"""
