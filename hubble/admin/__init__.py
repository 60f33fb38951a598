"""What an operator sees and does: an HTTP API and a page, on a listener of their own, behind a token (docs/admin.md).

views    one worker's answers
service  all workers' answers together, and the actions
queries  the parameters of requests, checked
app      the WSGI application: token, routes, JSON
stream   the page's live view, as server-sent events
openapi  the API's description
server   the listener
access   the token, and where the terminal clients find it
"""
