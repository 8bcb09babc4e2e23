"""What production held when it was asked: label rows and listing."""
