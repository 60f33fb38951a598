"""What observes a worker: accounts of sessions, metrics, history and the latest events."""
