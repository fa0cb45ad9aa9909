"""How the running program is doing, for other programs: Prometheus, load balancers, systemd.

`vitals.py` is what is looked at, `health.py` judges it, `collector.py` makes Prometheus' metrics of it,
`server.py` answers over HTTP, `notify.py` speaks to systemd, and `watch.py` puts them together. All of it
pulls: the pipeline counts anyway and is asked only when somebody looks.
"""

from __future__ import annotations

from streamer.monitoring.health import Problem, Verdict, judge
from streamer.monitoring.vitals import Vitals
from streamer.monitoring.watch import Monitoring

__all__ = ["Monitoring", "Problem", "Verdict", "Vitals", "judge"]
