"""How the parts run together: launcher, stack, embedded store, console."""
