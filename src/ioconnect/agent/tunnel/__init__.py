"""A tunnel's life as a pure state machine: states, events, backoff, counters."""
