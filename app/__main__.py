"""`python -m app`: the same program as the installed command `ambient-api`."""

from app.cli.main import main

if __name__ == "__main__":
    main()
