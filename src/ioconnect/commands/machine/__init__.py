"""Commands about this machine: the service, doctor."""
