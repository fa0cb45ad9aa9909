"""What happens as large calm text, or as lines for screen readers and braille."""
