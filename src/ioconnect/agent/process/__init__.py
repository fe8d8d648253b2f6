"""The agent as a process: the daemon, how it is launched, its log and what it tells the service manager."""
