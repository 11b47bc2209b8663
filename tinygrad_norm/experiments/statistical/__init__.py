"""Claims that a training decides: over several seeds, with the learning rate tuned for each setting."""
