"""Benchmarks of Hubble, compared with other relays on the same machine.

Run all of them with `python -m benchmarks` from the root of the checkout, or some by name: `python -m benchmarks
throughput latency`. Absolute figures depend on the machine and the day. The result is the ratio to the alternative
measured in the same run: rounds of both alternate, and the medians are compared.

Each benchmark is a module whose docstring describes the measurement. They share:

- `lab`: a benchmark's settings, scratch directory and processes; `processes`: running and measuring one;
- `chains`: the chains to the service (none, three socats, Hubble), `tunnel`: Hubble's processes;
- `service` and `load`: the two ends, as separate lean programs; `relay` and `slowpath`: a path in between;
- `figures`: medians, ratios, targets, tables.
"""
