"""The process that keeps a proxy's workers, and does nothing else: it imports no data path.

supervisor  starts the workers, restarts those that die or hang, forwards what is asked of them
process     one worker, as a process
channel     what the supervisor and a worker say to each other
load        how many connections each worker has, in memory that all of them share
takeover    handing the listeners over to a successor
"""
