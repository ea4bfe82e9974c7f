"""Ready-made circuits, one paper a file."""
