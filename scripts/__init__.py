"""What makes the generated files of this project; not part of the package."""
