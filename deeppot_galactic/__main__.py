"""``python -m deeppot_galactic`` is the same as ``deeppot``."""

from .cli import main

if __name__ == "__main__":
    main()
