"""Authorization scripts in Lua: the sandbox, its modules http and json, and the policy that runs them.

policy       the authorizer: loads and reloads a script, and turns the outcome of a run into a decision
runtime      a fresh lupa runtime for each run
bytecode     rewrites compiled scripts before they run
host         the functions that Lua can call
limits       the bounds of a run
shared       the memory and the log lines that all runs of a script share
http         the Python side of the module http
connections  HTTP connections, kept for further requests
urls         URLs as the original parses them
jsontext     the Python side of the module json
*.lua        the sandbox, the two modules, and string functions that can be interrupted (strings.lua, patterns.lua)
"""
