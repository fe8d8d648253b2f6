"""Opens, reads, writes and judges files on behalf of root where other accounts may change what a path leads to."""
