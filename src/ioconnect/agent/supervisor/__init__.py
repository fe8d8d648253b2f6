"""The main thread of the agent: one tunnel runner per tunnel, their mailbox, and the monitors that wake it."""
