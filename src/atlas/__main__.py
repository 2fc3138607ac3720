"""`python -m atlas`: the command, for launchers that start modules (torchrun, accelerate launch)."""

from atlas.cli import main

main()
