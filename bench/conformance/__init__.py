"""Does a server keep to `readstate.v1`?  Rows of the protocol, each tried over the wire alone."""
