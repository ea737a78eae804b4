"""The loop that senses, asks the engine, acts and answers questions."""
