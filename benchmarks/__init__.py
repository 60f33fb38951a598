"""What Hubble costs and what it keeps to, measured beside other ways through the same machine.

Run all of it with `python -m benchmarks` from the checkout's root, or some of it by name: `python -m
benchmarks throughput latency`. Absolute figures hold for one machine on one day. What counts is the ratio
to the thing measured beside it in the same run: rounds of both alternate, and the medians are compared.

One module for each benchmark, whose docstring says what it measures and how. They share:

- `lab`: a benchmark's settings, scratch directory and processes; `processes`: running and measuring one;
- `chains`: the ways to the service (none, three socats, Hubble), `tunnel`: Hubble's own processes;
- `service` and `load`: the two ends, lean programs of their own; `relay` and `slowpath`: a path between;
- `figures`: medians, ratios, demands, tables.
"""
