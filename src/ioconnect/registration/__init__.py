"""Registration of a tunnel: from what was typed or pasted, or over the registration API, whose client this is."""
