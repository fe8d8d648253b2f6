"""The terminal and the command line: output, questions, exit codes, signals, completion, the command group."""
