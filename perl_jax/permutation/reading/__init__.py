"""The English of references: what a text says about its images."""
