"""What the program needs of the machine: time, threads, memory, signals, files, addresses, redaction."""
