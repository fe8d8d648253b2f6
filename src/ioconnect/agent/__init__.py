"""The agent: one event loop per tunnel, and the supervisor above them."""
