"""Monitoring and control for operators: an HTTP API and a dashboard on a separate listener (docs/admin.md).

views      the answers of one worker
service    the combined answers of all workers, and the actions
lists      sorting lists, and shortening them to the size of a message
endpoints  the table of endpoints: path, parameters, body, result and handler
queries    checks of query parameters and request bodies
openapi    the API description, generated from the table
app        the WSGI application: token, static files, endpoints, JSON
live       the dashboard's live view, as server-sent events
dashboard  the page: HTML, CSS and JavaScript
server     the listener, and its attachment to a proxy
access     the token, and the file in which terminal clients find it
"""
