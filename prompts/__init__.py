"""What people say of a prompt, and are told of it: changes by NODE.INPUT, faults and failures in a line each."""
