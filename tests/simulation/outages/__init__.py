"""Rooms whose network fails, and whose server and processes are restarted.

* `plan`: a scenario of outages, from a seed.
* `causes`: the causes that outcomes need there: with the network back in time, it is the handler's.
* `streams`: streams that are written while all this happens, and their records.
* `notices`: numbered data of the server, of which nobody loses any.
* `party`: all of that at once.
* `facts`: the facts that runs are to reach.
"""
