"""What people and programs see on the terminal: a live screen, plain text, or JSON lines."""
