"""The user's files: where they are, the configuration, addresses, and ssh command lines that become tunnels."""
