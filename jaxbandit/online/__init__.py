"""From offline data to online play on K arms."""
