"""Attack commands at the steps of what they write, and print a table of what held.

python -m tests.crash                          every step of every command, and 20 kills at random of each
python -m tests.crash --only run --every 7     every 7th step of one
"""

from __future__ import annotations

import argparse
import sys

from tests.crash.commands import COMMANDS
from tests.crash.drive import attack, prepare


def main() -> int:
    names = [command.name for command in COMMANDS]
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--every", type=int, default=1, help="attack every n-th step")
    parser.add_argument("--kills", type=int, default=20, help="kills at random of each command")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    commands = given.only or names
    prepare(commands)
    row = "{:26}{:>7}{:>10}{:>11}{:>14}"
    print(row.format("command", "steps", "killed", "disk full", "random kills"))
    problems = 0
    for found in attack(commands, given.every, given.kills, given.seed):
        stood = (f"{found.stood[kind]}/{found.tried[kind]}" for kind in ("kill", "full", "random"))
        print(row.format(found.command, found.steps, *stood), flush=True)
        for problem in found.problems:
            print(f"  {problem}", flush=True)
        problems += len(found.problems)
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
