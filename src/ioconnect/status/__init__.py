"""What the agent does, as anybody may read it: snapshot, lock, observation, rendering."""
