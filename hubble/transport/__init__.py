"""Links: whole messages in and out over a WebSocket, and how one is dialled or accepted.

link         a link: sends and receives messages, keeps itself alive
linkoptions  how often a link shows that it lives, and the options of its socket
reader       reads a link's messages, in the hub or in a greenlet
writer       writes what the kernel takes at once, and the rest when it takes more
turn         a turn of the hub, at whose end everything waiting is written
peer         the other end of a link
framing      WebSocket frames
stream       a socket that reads and writes without waiting where it can
tlssocket    the same through TLS, with the records in memory
tls          contexts, hardening and handshakes
tlsfaults    what OpenSSL's failures mean
addresses    sockets, addresses, and connecting to the first that answers
resolver     looking names up in threads of its own
hostnames    which texts are host names or addresses
endpoint     host and port as one text
bind         binding addresses with the standard library alone
listen       gevent's listening sockets
budget       a budget that is refilled over time
liveness     whether the client of an accepted connection is still there
dial/        the dialling side
serve/       the listening side
"""
