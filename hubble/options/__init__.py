"""The options of both programs, each described once.

`option.py` defines an option and the parsers of values. `agent.py`, `proxy.py` and `admin.py` list the options in
groups, and `common.py` has the options that several programs share. From these lists, `reference.py` generates
docs/options.md, and hubble/cli/arguments.py the command lines. The package needs only the standard library, because
the supervisor imports it too.
"""
