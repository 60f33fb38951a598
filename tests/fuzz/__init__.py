"""Fuzzing of everything that reads what a stranger, a peer or a user has written.

`targets` has one function for each reader: it takes any bytes and raises only for a defect. `corpus/TARGET/` has inputs
that reach far, and every input that has ever shown a defect. `make test` runs each target for a second or two, always
alike; `make fuzz` runs them for as long as you like, guided by coverage if Atheris is installed
(`pip install atheris`).
"""
