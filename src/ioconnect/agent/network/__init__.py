"""What happens to this machine's network, and that it was suspended."""
