"""Protocol probes of databases, without credentials: which server answers, which version, does it support TLS."""
