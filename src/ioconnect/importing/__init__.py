"""Takes over what autossh and ssh do here today: finds their lines, makes tunnels of them, disables the old ones.

Two agents that fight for one port are the accident that this prevents. Nothing is ever deleted.
"""
