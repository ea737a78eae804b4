"""What decides, and nothing else: frozen values in, decisions out."""
