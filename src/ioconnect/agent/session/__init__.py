"""One signed-in SSH connection of one tunnel: dial, sign in, ask for the forward, relay its connections."""
