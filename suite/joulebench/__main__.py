"""`python -m joulebench`: the command `joulebench`."""

from joulebench.commands.main import main

if __name__ == "__main__":
    main()
