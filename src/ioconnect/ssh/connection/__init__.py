"""The connection protocol (RFC 4254): channels, their flow control, and what they are joined to."""
