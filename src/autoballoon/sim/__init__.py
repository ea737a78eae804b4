"""A host and guests with characters on virtual time, stepped by the real engine; everything follows from a seed."""
