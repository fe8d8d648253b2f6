"""`python -m ioconnect`: the same as the console script; the daemon is started this way."""

from ioconnect.cli import main

if __name__ == "__main__":
    main()
