"""The agent's status: snapshot file, lock, log, and their rendering; readable by any process."""
