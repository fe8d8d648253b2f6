"""Keys: the identity, the pinned host keys, their file formats, passphrases."""
