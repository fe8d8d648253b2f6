"""Commands that write the files of a tunnel: keygen, register, pin, import."""
