"""Commands that start, stop and tell the agent: up, down, reload, reconnect."""
