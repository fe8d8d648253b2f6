"""The terminal: what is printed and asked there, exit codes, interruptions, completion, the command group."""
