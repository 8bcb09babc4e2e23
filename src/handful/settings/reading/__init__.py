"""From the lines of settings.ini to `Settings`."""
