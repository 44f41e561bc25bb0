"""What the screens share: bars, dialogs, lists, keys, clipboard, terminal."""
