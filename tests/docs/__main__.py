"""Holds the documents against the code; see names.py and commands.py."""

import sys

import commands
import names
from markdown import documents


def main():
    every = documents()
    only = sys.argv[1:]
    chosen = [it for it in every if not only or it.name in only]
    found = [*names.faults(every), *commands.faults(chosen)]
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{len(every)} documents, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
