"""Teachers wherever they live: in this process, at a server, or in a file of answers they gave before."""
