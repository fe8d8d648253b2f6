"""Imports the tunnels that autossh and ssh run on this machine, and disables what started them; deletes nothing.

This prevents two agents from competing for one port.
"""
