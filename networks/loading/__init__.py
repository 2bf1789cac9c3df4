"""Files to models: reading tensors, telling which model they are, other layouts' names to the published ones."""
