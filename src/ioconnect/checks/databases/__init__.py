"""The first words of each database's protocol, as far as they need no credentials: who is it, and does it do TLS."""
