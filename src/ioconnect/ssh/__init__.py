"""One SSH engine for both ends of a connection: packets, channels, flow control, on one event loop per session."""
