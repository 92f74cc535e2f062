"""See the design notes in docs/."""
