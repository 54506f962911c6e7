"""The front end: from Dockerfile text to a graph. Pure. Build and the command line may import it."""
