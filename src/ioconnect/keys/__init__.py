"""Keys: the identity, pinned host keys, their file formats, passphrases."""
