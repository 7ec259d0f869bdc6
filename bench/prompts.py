"""The prompts of a run: all different, and different from those of other runs."""


def text(run: str, number: int) -> str:
    return f"A night of pictures, number {number} of {run}"
