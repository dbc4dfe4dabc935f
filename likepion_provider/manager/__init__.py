"""The manager API: protocol, transport and the arithmetic of claims."""
