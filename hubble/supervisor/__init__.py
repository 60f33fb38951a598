"""The process that starts and monitors a proxy's workers. It imports no code of the data path.

supervisor  starts the workers, restarts workers that die or hang, forwards signals and requests
process     one worker process
channel     the messages between the supervisor and a worker
load        the number of connections of each worker, in shared memory
takeover    the handover of the listeners to a successor
"""
