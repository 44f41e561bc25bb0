"""What the app shows and the engine never imports."""
