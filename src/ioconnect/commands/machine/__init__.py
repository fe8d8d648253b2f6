"""Commands that add ioconnect to this machine: install-service, uninstall-service, completion."""
