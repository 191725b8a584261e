"""`ml-stack` and `python3 compose`: the command line of the stack."""
import click


@click.group()
def main() -> None:
    """Run the whole stack on this machine, without Docker."""


if __name__ == "__main__":
    main()
