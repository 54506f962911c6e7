"""The front end: from Dockerfile text to a graph. Pure; build and the command line may import it."""
