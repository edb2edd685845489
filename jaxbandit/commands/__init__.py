"""What the command line offers, one function a command."""
