"""Whole rooms in virtual time, under random faults, and a check after every step.

* `scenario`: who is there, who calls whom, and what goes wrong and when; all from a seed.
* `world`: plays a scenario with real rooms, a real server and faulty links.
* `checker`: what has to hold, whatever goes wrong.
* `hostile`: participants who keep to no rule. `outages`: a network that fails, and restarts.
* `run`: runs a scenario so that the same seed gives the same run, step by step.

By hand: `python -m tests.simulation --calls 100000 --seed 7`, with `--adversary` or `--outages`.
"""
