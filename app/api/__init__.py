"""Endpoint families of the model service, one module each."""
