"""The files of an installation, the TOML configuration, addresses, and ssh command lines parsed into tunnels."""
