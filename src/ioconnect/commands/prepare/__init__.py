"""Commands that set a tunnel up by hand: keygen, register, pin, import, test."""
