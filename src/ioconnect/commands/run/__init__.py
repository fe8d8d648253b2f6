"""Commands that run the agent and look at it: up, down, status, reload, reconnect, logs."""
