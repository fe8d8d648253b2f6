"""The agent as a process: the daemon, how it is launched, its log and its notifications to the service manager."""
