"""Authorization scripts in Lua: the sandbox, its modules http and json, and the policy that runs them.

policy.py   the authorizer: loads and reloads a script, turns a run's outcome into a decision
runtime.py  lupa: a fresh runtime for each run
host.py     what Lua can call, and the limits
http.py, jsontext.py   what stands behind the modules http and json
*.lua       the sandbox, the two modules, and string functions that can be interrupted (strings.lua, patterns.lua)
"""
