"""`python -m icm`: the command line."""

from icm.cli import main

if __name__ == "__main__":
    main()
