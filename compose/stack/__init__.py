"""The stack on one machine without Docker: start, watch, stop, feed with traffic."""
