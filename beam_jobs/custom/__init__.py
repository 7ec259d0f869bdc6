"""Functions of the deployment's own, which change prompts or images on their way."""
