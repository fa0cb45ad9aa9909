"""What is said when: shared by speech and captions."""
