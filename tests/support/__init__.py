"""What the end-to-end tests stand on: the real binary, its peers, and ways to look at them."""
