"""Benchmarks of calls, side by side with the alternatives.

`python -m tests.benchmarks --help` tells how to run it; `nox -s bench` installs the others first.

* `cases`: the loads that are measured, and the targets.
* `contestants`: ours and the others, each a server, a callee and a caller.
* `roles`: what runs in each process; `processes`: starting and measuring them.
* `running`: rounds, interleaved and shuffled; `results`: medians, spreads and ratios of them.
* `report`, `plot`: the table and the plot.
"""
