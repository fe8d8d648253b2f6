"""The main thread of the agent: one tunnel runner per tunnel, their mailbox, and what is watched for them."""
