"""Commands that look at the tunnels, the agent and this machine: status, logs, test, doctor."""
