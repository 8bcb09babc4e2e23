"""`python -m handful`, where the command `handful` is not on the PATH."""

from handful.cli import main

if __name__ == "__main__":
    main()
