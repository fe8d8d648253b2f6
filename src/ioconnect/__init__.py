"""Keeps a reverse SSH tunnel from a database to Integrate.io up, and tells the truth about it."""

__version__ = "0.1.0"
