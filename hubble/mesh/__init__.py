"""The links between the workers of one proxy, on one machine or on several.

mesh      this worker's links to the others, and calls over them
peer      another worker at the other end of a link
messages  what workers say to each other, and how they prove that they belong together
sockets   where workers listen for each other
tls       mutual TLS between machines
cluster   what makes a worker one of several machines'
"""
