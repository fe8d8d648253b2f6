"""`ioconnect doctor`: every tunnel's checks and this machine's facts, and both as a redacted archive for support."""
