"""Average, max and adaptive pooling."""
