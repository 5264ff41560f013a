"""``python -m trainer``: the command ``train``."""

from trainer.cli.main import main

if __name__ == "__main__":
    main()
