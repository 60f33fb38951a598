"""The options of both programs, each described once.

`common.py` has the options that several programs share. `option.py` says what an option is and how its text is read;
`agent.py`, `proxy.py` and `admin.py` list them in groups; `reference.py` writes docs/options.md from the lists, and
hubble/cli/arguments.py builds the command lines from them. The standard library is all that this package needs: the
supervisor reads options too.
"""
