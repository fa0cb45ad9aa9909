"""Who is in a camera's picture: detecting and following people, and the part of the picture around each."""
