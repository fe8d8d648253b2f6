"""The client of the registration API."""
