"""Authorization scripts in Lua: the sandbox, its modules http and json, and the policy that runs them.

policy       the authorizer: loads and reloads a script, turns a run's outcome into a decision
runtime      lupa: a fresh runtime for each run
bytecode     rewrites compiled scripts before they run
host         what Lua can call
limits       the bounds of a run
shared       what all runs of a script share
http         what stands behind the module http
connections  its connections
urls         URLs as the original read them
jsontext     what stands behind the module json
*.lua        the sandbox, the two modules, and string functions that can be interrupted (strings.lua, patterns.lua)
"""
