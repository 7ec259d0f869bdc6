"""The prompts of a run: all different, and none that another run has had."""


def text(run: str, number: int) -> str:
    return f"A night of pictures, number {number} of {run}"
