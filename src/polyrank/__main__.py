"""``python -m polyrank`` is the command ``polyrank``."""

from polyrank.cli import main

if __name__ == "__main__":
    main()
