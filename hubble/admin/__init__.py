"""What an operator sees and does: an HTTP API and a page, on a listener of their own, behind a token (docs/admin.md).

views      one worker's answers
service    all workers' answers together, and the actions
lists      sorting and cutting what they answer
endpoints  every endpoint in one table: where it is, what it takes and gives, what answers it
queries    the parameters and bodies of requests, checked
openapi    the API's description, made from the table
app        the WSGI application: token, pages, endpoints, JSON
stream     the page's live view, as server-sent events
dashboard  the page: HTML, CSS and JavaScript
server     the listener, and how it is attached to a proxy
access     the token, and where the terminal clients find it
"""
